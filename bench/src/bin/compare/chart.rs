//! Bar charts as SVG.
//!
//! A chart is a grid of panels with a horizontal bar for each engine, always in the same order and
//! colour. Bars begin at zero. Where magnitudes differ, each panel has a scale of its own, so that
//! engines can be compared in every panel; every bar tells its value.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

use crate::Error;
use crate::spread::{Spread, digits};

const WIDTH: i32 = 960;
const MARGIN: i32 = 24;
/// Between two columns of panels.
const GUTTER: i32 = 32;
const HEADER_HEIGHT: i32 = 62;
const LEGEND_LINE: i32 = 24;
const HEADING_HEIGHT: i32 = 38;
const PANEL_TITLE: i32 = 22;
const PANEL_GAP: i32 = 14;
const BAR: i32 = 14;
/// From one bar to the next.
const STEP: i32 = 20;
/// What is kept free for the value beside a bar.
const VALUE_WIDTH: i32 = 54;
/// The width that a letter of the legend takes, rather too much.
const LETTER: i32 = 8;

/// A font's size from its lowest to its highest point, in which plotters counts, to its em, in
/// which SVG does.
const EM: f64 = 1.24;

const PAPER: RGBColor = RGBColor(255, 255, 255);
const EDGE: RGBColor = RGBColor(208, 215, 222);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(89, 99, 110);

/// The colours of engines. Grey is for the one that others are compared with; the rest is the
/// palette of Okabe and Ito, which people with any colour vision can tell apart.
const COLOURS: [RGBColor; 9] = [
    RGBColor(140, 140, 140),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
    RGBColor(64, 64, 64),
];

/// A picture with a title and a legend.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// How to read it.
    pub(crate) note: String,
    /// The names of the engines, in the order of their colours and bars.
    pub(crate) engines: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

/// Panels whose values have one unit.
#[derive(Debug)]
pub(crate) struct Section {
    /// What the values are, with their unit.
    pub(crate) heading: String,
    /// Panels side by side; at least one.
    pub(crate) columns: usize,
    pub(crate) scale: Scale,
    pub(crate) panels: Vec<Panel>,
}

/// What the longest bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// The greatest value of its panel.
    Own,
    /// The greatest value of the section.
    Shared,
}

/// One group of bars.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// The engine's place in [`Chart::engines`], and its values.
    pub(crate) bars: Vec<(usize, Spread)>,
}

impl Chart {
    /// The chart as an SVG document.
    ///
    /// # Errors
    /// When the library that draws it fails.
    pub(crate) fn render(&self) -> Result<String, Error> {
        let legend = self.legend();
        let header = HEADER_HEIGHT + LEGEND_LINE * legend.last().map_or(0, |last| last.line + 1);
        let body: i32 = self.sections.iter().map(Section::height).sum();
        let height = header + body + MARGIN;
        let mut svg = String::new();
        {
            let size = (WIDTH.cast_unsigned(), height.cast_unsigned());
            let canvas = Canvas {
                area: SVGBackend::with_string(&mut svg, size).into_drawing_area(),
            };
            canvas.rectangle((0, 0), (WIDTH, height), EDGE)?;
            canvas.rectangle((1, 1), (WIDTH - 1, height - 1), PAPER)?;
            canvas.text(&self.title, (MARGIN, 26), &TITLE)?;
            canvas.text(&self.note, (MARGIN, 48), &NOTE)?;
            for entry in &legend {
                let (x, y) = (entry.x, HEADER_HEIGHT + LEGEND_LINE * entry.line);
                canvas.rectangle((x, y + 5), (x + BAR, y + 5 + BAR), colour(entry.engine))?;
                canvas.text(entry.name, (x + BAR + 7, y + 12), &LABEL)?;
            }
            let mut y = header;
            for section in &self.sections {
                section.draw(&canvas, y)?;
                y += section.height();
            }
            canvas.area.present().map_err(failed)?;
        }
        Ok(svg)
    }

    /// Where the names of the engines that occur go.
    fn legend(&self) -> Vec<Entry<'_>> {
        let panels = || self.sections.iter().flat_map(|section| &section.panels);
        let (mut x, mut line) = (MARGIN, 0);
        let mut entries = Vec::new();
        for (engine, name) in self.engines.iter().enumerate() {
            if !panels().any(|panel| panel.bars.iter().any(|bar| bar.0 == engine)) {
                continue;
            }
            let width = BAR + 30 + LETTER * count(name.chars().count());
            if x + width > WIDTH && x > MARGIN {
                (x, line) = (MARGIN, line + 1);
            }
            entries.push(Entry {
                engine,
                name,
                x,
                line,
            });
            x += width;
        }
        entries
    }
}

/// A name in the legend.
struct Entry<'a> {
    engine: usize,
    name: &'a str,
    x: i32,
    line: i32,
}

impl Section {
    fn height(&self) -> i32 {
        let lines = self.panels.len().div_ceil(self.columns);
        HEADING_HEIGHT + count(lines) * self.panel_height()
    }

    /// As high as the one with the most bars, so that panels stand in lines.
    fn panel_height(&self) -> i32 {
        let bars = self.panels.iter().map(|panel| panel.bars.len()).max();
        PANEL_TITLE + count(bars.unwrap_or_default()) * STEP + PANEL_GAP
    }

    fn draw(&self, canvas: &Canvas<'_>, y: i32) -> Result<(), Error> {
        canvas.text(&self.heading, (MARGIN, y + 20), &HEADING)?;
        let columns = count(self.columns);
        let width = (WIDTH - 2 * MARGIN - GUTTER * (columns - 1)) / columns;
        let shared = greatest(&self.panels);
        for (place, panel) in self.panels.iter().enumerate() {
            let (column, line) = (place % self.columns, place / self.columns);
            let x = MARGIN + count(column) * (width + GUTTER);
            let y = y + HEADING_HEIGHT + count(line) * self.panel_height();
            let full = match self.scale {
                Scale::Own => greatest(std::slice::from_ref(panel)),
                Scale::Shared => shared,
            };
            panel.draw(canvas, (x, y), width, full)?;
        }
        Ok(())
    }
}

impl Panel {
    /// Draws it with its upper left corner at a point; the longest bar stands for `full`.
    fn draw(
        &self,
        canvas: &Canvas<'_>,
        (x, y): (i32, i32),
        width: i32,
        full: f64,
    ) -> Result<(), Error> {
        canvas.text(&self.title, (x, y + 9), &LABEL)?;
        for (place, (engine, spread)) in self.bars.iter().enumerate() {
            let y = y + PANEL_TITLE + count(place) * STEP;
            let end = |value: f64| x + length(value / full, width - VALUE_WIDTH);
            let (from, to) = (end(spread.min), end(spread.max));
            canvas.rectangle((x, y), (end(spread.median), y + BAR), colour(*engine))?;
            if to > from {
                canvas.whisker((from, to), y + BAR / 2)?;
            }
            let value = format!("{:.*}", digits(spread.median), spread.median);
            canvas.text(&value, (to + 7, y + BAR / 2), &VALUE)?;
        }
        Ok(())
    }
}

/// The length of a bar for a part of the full one, in pixels.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a part of a picture's width"
)]
fn length(part: f64, full: i32) -> i32 {
    // What is not a number has no length.
    (part.clamp(0.0, 1.0) * f64::from(full)).round() as i32
}

fn greatest(panels: &[Panel]) -> f64 {
    let bars = panels.iter().flat_map(|panel| &panel.bars);
    bars.map(|(_, spread)| spread.max)
        .fold(f64::MIN_POSITIVE, f64::max)
}

/// The colour of the engine at a place; they repeat if there are more than nine.
fn colour(engine: usize) -> RGBColor {
    COLOURS[engine % COLOURS.len()]
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How a text looks.
struct Face {
    size: f64,
    style: FontStyle,
    colour: RGBColor,
}

const TITLE: Face = Face {
    size: 18.0,
    style: FontStyle::Bold,
    colour: INK,
};
const HEADING: Face = Face {
    size: 14.0,
    style: FontStyle::Bold,
    colour: INK,
};
const NOTE: Face = Face {
    size: 13.0,
    style: FontStyle::Normal,
    colour: FAINT,
};
const LABEL: Face = Face {
    size: 13.0,
    style: FontStyle::Normal,
    colour: INK,
};
const VALUE: Face = Face {
    size: 12.0,
    style: FontStyle::Normal,
    colour: INK,
};

struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl Canvas<'_> {
    fn rectangle(&self, from: (i32, i32), to: (i32, i32), fill: RGBColor) -> Result<(), Error> {
        let shape = Rectangle::new([from, to], fill.filled());
        self.area.draw(&shape).map_err(failed)
    }

    /// A line between two ends of a bar, with a light edge that sets it off from dark colours.
    fn whisker(&self, (from, to): (i32, i32), y: i32) -> Result<(), Error> {
        let strokes = |wider: i32, fill: RGBColor| {
            for (left, right, half) in [(from, to, 0), (from, from, 3), (to, to, 3)] {
                let (left, right) = (left - wider, right + 1 + wider);
                let (top, bottom) = (y - half - wider, y + half + 1 + wider);
                self.rectangle((left, top), (right, bottom), fill)?;
            }
            Ok(())
        };
        strokes(1, PAPER)?;
        strokes(0, INK)
    }

    /// A text that begins at a point, which is at half its height.
    fn text(&self, text: &str, at: (i32, i32), face: &Face) -> Result<(), Error> {
        let font = FontDesc::new(FontFamily::SansSerif, face.size * EM, face.style);
        let style = TextStyle::from(font)
            .color(&face.colour)
            .pos(Pos::new(HPos::Left, VPos::Center));
        self.area.draw(&Text::new(text, at, style)).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::child("drawing", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread {
            median,
            min: median * 0.9,
            max: median * 1.25,
        }
    }

    fn chart(scale: Scale, values: &[[f64; 2]]) -> Chart {
        let panel = |[floor, throng]: &[f64; 2]| Panel {
            title: "echo <20 B>".to_owned(),
            bars: vec![(0, spread(*floor)), (1, spread(*throng))],
        };
        Chart {
            title: "Cost".to_owned(),
            note: "less is better".to_owned(),
            engines: ["floor", "throng", "unused"].map(str::to_owned).to_vec(),
            sections: vec![Section {
                heading: "µs".to_owned(),
                columns: 2,
                scale,
                panels: values.iter().map(panel).collect(),
            }],
        }
    }

    /// The widths of the rectangles of that engine's colour, that of the legend first.
    fn widths(svg: &str, engine: usize) -> Vec<i32> {
        let RGBColor(red, green, blue) = COLOURS[engine];
        let fill = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\"");
        svg.lines()
            .filter(|line| line.starts_with("<rect") && line.contains(&fill))
            .map(|line| {
                let width = line.split("width=\"").nth(1).unwrap();
                width.split('"').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let svg = chart(Scale::Own, &[[1.0, 2.0], [100.0, 50.0]])
            .render()
            .unwrap();
        let (floor, throng) = (widths(&svg, 0), widths(&svg, 1));
        assert_eq!((floor.len(), throng.len()), (3, 3));
        // Each panel has a scale of its own: the longest bars are the same.
        assert_eq!(floor[2], throng[1]);
        assert!(
            (throng[1] - 2 * floor[1]).abs() <= 1,
            "{floor:?} {throng:?}"
        );
        assert!(
            (floor[2] - 2 * throng[2]).abs() <= 1,
            "{floor:?} {throng:?}"
        );
    }

    #[test]
    fn panels_of_one_scale_can_be_compared() {
        let svg = chart(Scale::Shared, &[[1.0, 2.0], [100.0, 50.0]])
            .render()
            .unwrap();
        let (floor, throng) = (widths(&svg, 0), widths(&svg, 1));
        assert!(
            (floor[2] - 50 * throng[1]).abs() <= 25,
            "{floor:?} {throng:?}"
        );
    }

    #[test]
    fn everything_is_named() {
        let svg = chart(Scale::Own, &[[1.0, 2.5]]).render().unwrap();
        for text in [
            "Cost",
            "less is better",
            "floor",
            "throng",
            "µs",
            "1.00",
            "2.50",
        ] {
            assert!(svg.lines().any(|line| line == text), "{text}: {svg}");
        }
        assert!(svg.contains("echo &lt;20 B&gt;"), "{svg}");
        assert!(!svg.contains("unused"), "{svg}");
    }

    #[test]
    fn nothing_leaves_the_picture() {
        // Not a number, nothing at all, less than nothing.
        for values in [[f64::NAN, 1.0], [0.0, 0.0], [-3.0, 1.0]] {
            let svg = chart(Scale::Own, &[values]).render().unwrap();
            for width in [widths(&svg, 0), widths(&svg, 1)].concat() {
                assert!((0..WIDTH).contains(&width), "{values:?}: {svg}");
            }
        }
    }

    #[test]
    fn long_legends_take_several_lines() {
        let mut long = chart(Scale::Own, &[[1.0, 2.0]]);
        let names = (0..9).map(|number| format!("a long name, number {number}"));
        long.engines = names.collect();
        let bars = (0..9).map(|engine| (engine, spread(1.0))).collect();
        long.sections[0].panels[0].bars = bars;
        let entries = long.legend();
        assert_eq!(entries.len(), 9);
        assert!(entries[8].line > 0);
        assert!(entries.iter().all(|entry| entry.x < WIDTH - 100));
    }
}
