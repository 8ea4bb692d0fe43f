//! The measurements as charts, a file for each kind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::chart::{Chart, Panel, Scale, Section};
use crate::delay::Delay;
use crate::load::{Load, Measured};
use crate::record::Record;
use crate::row::{Figure, Row};

/// Writes the charts that the record fills into a folder, which must exist: `cpu.svg`,
/// `latency.svg`, `memory.svg`. Returns their paths.
///
/// # Errors
/// When one cannot be drawn or written.
pub(crate) fn draw(record: &Record, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let charts = [
        ("cpu.svg", cpu(record)),
        ("latency.svg", latency(record)),
        ("memory.svg", memory(record)),
    ];
    let filled = charts
        .into_iter()
        .filter(|(_, chart)| !chart.sections.is_empty());
    filled
        .map(|(file, chart)| {
            let path = folder.join(file);
            let action = format!("writing {}", path.display());
            fs::write(&path, chart.render()?).map_err(Error::io(action))?;
            Ok(path)
        })
        .collect()
}

fn cpu(record: &Record) -> Chart {
    let (rooms, echoes): (Vec<_>, Vec<_>) = record
        .rows(Figure::Cost)
        .into_iter()
        .partition(|row| matches!(row.load, Load::Room { .. }));
    let section = |rows: &[&Row]| {
        let unit = rows.first().map_or("message", |row| row.unit());
        let heading = format!("µs per {unit}");
        let panels = panels(record, rows, Row::title, Measured::server_us);
        section(heading, 3, Scale::Own, panels)
    };
    chart(
        record,
        "Server CPU per message, one core",
        "each group of bars has a scale of its own",
        [section(&echoes), section(&rooms)],
    )
}

fn latency(record: &Record) -> Chart {
    let paced = panels(record, &record.rows(Figure::Delay), Row::title, |one| {
        one.delay.map(Delay::p99_ms)
    });
    let paced = section("p99 in ms".to_owned(), 2, Scale::Own, paced);
    let bystanders = record.rows(Figure::Bystanders).into_iter().map(|row| {
        let when = |what: &'static str| move |_: &Row| what.to_owned();
        let silent = panels(record, &[row], when("while the room is silent"), |one| {
            one.beside?.silent.map(Delay::p99_ms)
        });
        let busy = panels(record, &[row], when("while the room receives"), |one| {
            one.delay.map(Delay::p99_ms)
        });
        let heading = format!("p99 in ms: {}", row.title());
        let panels = silent.into_iter().chain(busy).collect();
        section(heading, 2, Scale::Shared, panels)
    });
    chart(
        record,
        "Latency at a fixed rate, one core",
        "from when a message was due to its arrival",
        [paced].into_iter().chain(bystanders),
    )
}

fn memory(record: &Record) -> Chart {
    let panels = panels(record, &record.rows(Figure::Memory), Row::title, |one| {
        Some(one.bytes_per_connection())
    });
    let heading = "resident bytes of heap and stacks".to_owned();
    chart(
        record,
        "Memory per idle connection",
        "without the kernel's share, which is the same for all",
        [section(heading, 2, Scale::Shared, panels)],
    )
}

/// The chart of those sections that have panels.
fn chart(
    record: &Record,
    title: &str,
    note: &str,
    sections: impl IntoIterator<Item = Option<Section>>,
) -> Chart {
    let rounds = record.rounds;
    Chart {
        title: title.to_owned(),
        note: format!("Less is better · {note} · medians, with min–max of {rounds} rounds"),
        engines: record.engines.iter().map(ToString::to_string).collect(),
        sections: sections.into_iter().flatten().collect(),
    }
}

fn section(heading: String, columns: usize, scale: Scale, panels: Vec<Panel>) -> Option<Section> {
    (!panels.is_empty()).then_some(Section {
        heading,
        columns,
        scale,
        panels,
    })
}

/// A panel for each row, with a bar for each engine that was measured there; none for a row
/// where no engine was.
fn panels(
    record: &Record,
    rows: &[&Row],
    title: impl Fn(&Row) -> String,
    value: impl Fn(&Measured) -> Option<f64>,
) -> Vec<Panel> {
    let panel = |row: &&Row| {
        let engines = record.engines.iter().enumerate();
        let bars: Vec<_> = engines
            .filter_map(|(place, &engine)| Some((place, record.spread(row, engine, &value)?)))
            .collect();
        let title = title(row);
        (!bars.is_empty()).then_some(Panel { title, bars })
    };
    rows.iter().filter_map(panel).collect()
}

#[cfg(test)]
mod tests {
    use throng_bench::serve::Engine;

    use super::*;
    use crate::bystanders::Beside;
    use crate::measure::Sample;
    use crate::row;

    fn record(rows: &[&str]) -> Record {
        let delay = Some(Delay {
            p50_ns: 1_000_000,
            p99_ns: 3_000_000,
            max_ns: 9_000_000,
        });
        let measured = Measured {
            connections: 100,
            messages: 1000,
            server_cpu: 0.007,
            memory_before: 1000,
            memory_open: 26_100,
            delay,
            beside: Some(Beside {
                silent: delay,
                room: delay,
            }),
            ..Measured::default()
        };
        let samples = rows.iter().map(|row| Sample {
            row: (*row).to_owned(),
            engine: Engine::Throng.into(),
            round: 0,
            measured: measured.clone(),
        });
        Record {
            rows: rows.iter().map(|row| row::named(row).unwrap()).collect(),
            engines: vec![Engine::Floor.into(), Engine::Throng.into()],
            rounds: 1,
            samples: samples.collect(),
        }
    }

    /// The titles of a chart's panels and the values of their bars.
    fn shown(chart: &Chart) -> Vec<(&str, Vec<String>)> {
        let panels = chart.sections.iter().flat_map(|section| &section.panels);
        let shown = panels.map(|panel| {
            let bars = panel.bars.iter();
            let bars =
                bars.map(|(engine, bar)| format!("{} {}", chart.engines[*engine], bar.median));
            (panel.title.as_str(), bars.collect())
        });
        shown.collect()
    }

    #[test]
    fn every_row_is_in_its_chart() {
        let record = record(&[
            "room-1k-8",
            "echo-100",
            "echo-1k-rate",
            "bystanders",
            "idle-10k",
        ]);
        let bar = |value: &str| vec![format!("throng {value}")];
        assert_eq!(
            shown(&cpu(&record)),
            [
                ("echo 20 B × 100, depth 1", bar("7")),
                ("room 64 B × 1000 members, 8 in flight", bar("7"))
            ]
        );
        assert_eq!(
            shown(&latency(&record)),
            [
                ("echo 20 B × 1000, 50000/s in all", bar("3")),
                ("while the room is silent", bar("3")),
                ("while the room receives", bar("3")),
            ]
        );
        let idle = ("idle × 10000, outside rooms", bar("251"));
        assert_eq!(shown(&memory(&record)), [idle]);
    }

    #[test]
    fn charts_without_rows_are_not_written() {
        let name = format!("throng-plots-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let paths = draw(&record(&["idle-10k"]), &folder).unwrap();
        let files = fs::read_dir(&folder).unwrap().count();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((paths, files), (vec![folder.join("memory.svg")], 1));
        assert!(draw(&record(&["idle-10k"]), &folder).is_err());
    }
}
