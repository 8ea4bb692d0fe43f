//! What several measurements of one thing amount to.

use std::fmt;

/// The median of some values, between the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[half]
        } else {
            f64::midpoint(sorted[half - 1], sorted[half])
        };
        Some(Self { median, min, max })
    }

    /// The spread of the ratios of `values` to `base`, each to that of its own round: what
    /// changes on the machine from round to round then changes both. Rounds that lack either are left
    /// out.
    pub(crate) fn of_ratios(values: &[Option<f64>], base: &[Option<f64>]) -> Option<Self> {
        let ratio = |(value, base): (&Option<f64>, &Option<f64>)| Some((*value)? / (*base)?);
        Self::of(values.iter().zip(base).filter_map(ratio))
    }
}

/// As `1.23 (1.20–1.31)`, to about three digits.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = *self;
        let digits = digits(median);
        write!(f, "{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

/// Digits behind the point that show about three in all.
pub(crate) fn digits(value: f64) -> usize {
    match value.abs() {
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_in_the_middle() {
        assert_eq!(Spread::of([]), None);
        let odd = Spread {
            median: 2.0,
            min: 1.0,
            max: 9.0,
        };
        assert_eq!(Spread::of([9.0, 1.0, 2.0]), Some(odd));
        let even = Spread {
            median: 2.5,
            min: 1.0,
            max: 9.0,
        };
        assert_eq!(Spread::of([9.0, 1.0, 2.0, 3.0]), Some(even));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // Of medians, 12 ÷ 10; but no round was worse than 1.1.
        let values = [None, Some(11.0), Some(12.0), Some(22.0), Some(9.0)];
        let base = [Some(2.0), Some(10.0), Some(12.0), Some(20.0), None];
        let ratios = Spread::of_ratios(&values, &base).unwrap();
        let expected = Spread {
            median: 1.1,
            min: 1.0,
            max: 1.1,
        };
        assert_eq!(ratios, expected);
    }

    #[test]
    fn three_digits_are_shown() {
        let shown = |median: f64| {
            Spread {
                median,
                min: median,
                max: median * 1.1,
            }
            .to_string()
        };
        assert_eq!(shown(0.1415), "0.141 (0.141–0.156)");
        assert_eq!(shown(5.0), "5.00 (5.00–5.50)");
        assert_eq!(shown(50.0), "50.0 (50.0–55.0)");
        assert_eq!(shown(5000.0), "5000 (5000–5500)");
    }
}
