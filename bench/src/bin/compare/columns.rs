//! How much of an engine's costs a table shows: less, the more engines stand side by side.

use crate::spread::{Spread, digits};
use crate::table::shown;

/// Engines beside the one that ratios are to, up to which ranges fit into a line.
const WITH_RANGES: usize = 2;

/// What stands in the columns of each engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// One column of costs and one of ratios, each with its range.
    Ranges,
    /// One column with the medians of both.
    Medians,
}

impl Columns {
    /// The columns for so many engines beside the one that ratios are to.
    pub(crate) fn beside(others: usize) -> Self {
        if others > WITH_RANGES {
            Self::Medians
        } else {
            Self::Ranges
        }
    }

    /// The heads of the columns of an engine.
    pub(crate) fn header(self, engine: &str, base: &str) -> Vec<String> {
        match self {
            Self::Ranges => vec![format!("{engine} µs"), format!("{engine} ÷ {base}")],
            Self::Medians => vec![format!("{engine} µs (÷ {base})")],
        }
    }

    /// The cell of the engine that ratios are to.
    pub(crate) fn base(self, costs: &[Option<f64>]) -> String {
        let spread = Spread::of(costs.iter().copied().flatten());
        match self {
            Self::Ranges => shown(spread),
            Self::Medians => spread.map_or_else(|| shown(None), median),
        }
    }

    /// The cells of another engine.
    pub(crate) fn cells(self, costs: &[Option<f64>], base: &[Option<f64>]) -> Vec<String> {
        let spread = Spread::of(costs.iter().copied().flatten());
        let ratios = Spread::of_ratios(costs, base);
        match (self, spread, ratios) {
            (Self::Ranges, spread, ratios) => vec![shown(spread), shown(ratios)],
            (Self::Medians, Some(costs), Some(ratios)) => {
                vec![format!("{} ({:.2})", median(costs), ratios.median)]
            }
            (Self::Medians, ..) => vec![shown(None)],
        }
    }

    /// What the cells are, to be said below the table.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Ranges => "Medians (min–max)",
            Self::Medians => "Medians (of ratios)",
        }
    }
}

fn median(Spread { median, .. }: Spread) -> String {
    format!("{median:.*}", digits(median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_engines_show_their_ranges() {
        let few = Columns::beside(2);
        assert_eq!(few.header("yawc", "floor"), ["yawc µs", "yawc ÷ floor"]);
        let cells = ["5.00 (4.00–6.00)", "2.50 (2.00–3.00)"];
        assert_eq!(few.cells(&[Some(4.0), Some(6.0)], &[Some(2.0); 2]), cells);
        assert_eq!(few.base(&[Some(2.0), None, Some(4.0)]), "3.00 (2.00–4.00)");
    }

    #[test]
    fn many_engines_show_their_medians() {
        let many = Columns::beside(3);
        assert_eq!(many.header("yawc", "floor"), ["yawc µs (÷ floor)"]);
        assert_eq!(
            many.cells(&[Some(4.0), Some(6.0)], &[Some(2.0); 2]),
            ["5.00 (2.50)"]
        );
        assert_eq!(many.cells(&[], &[Some(2.0)]), ["–"]);
        assert_eq!(many.base(&[Some(0.2), Some(0.4)]), "0.300");
    }
}
