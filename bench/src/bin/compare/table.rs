//! The measurements as tables in Markdown.

use std::fmt::Write;

use throng_loadtest::machine::SATURATED;

use crate::columns::Columns;
use crate::latency;
use crate::load::Measured;
use crate::record::Record;
use crate::row::{Figure, Row};
use crate::spread::{Spread, digits};

/// All tables that the record fills, and what has to be known to read them.
pub(crate) fn render(record: &Record) -> String {
    let [costly, idle] = [Figure::Cost, Figure::Memory].map(|figure| record.rows(figure));
    let mut parts = Vec::new();
    if !costly.is_empty() {
        parts.push(costs(record, &costly));
        parts.push(throughput(record, &costly));
        parts.extend(notes(record, &costly));
    }
    parts.extend(latency::render(record));
    if !idle.is_empty() {
        parts.push(memory(record, &idle));
    }
    parts.join("\n")
}

/// A table in Markdown.
pub(crate) fn table(header: &[String], lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    text.push_str(&"---|".repeat(header.len()));
    text.push('\n');
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text
}

/// A cell, also where nothing was measured.
pub(crate) fn shown(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.to_string())
}

/// A cell with the median of what is a part of the window.
pub(crate) fn percent(spread: Option<Spread>) -> String {
    let median = spread.map(|spread| format!("{:.0} %", spread.median * 100.0));
    median.unwrap_or_else(|| "–".to_owned())
}

/// The cells in which the client had no more to give, and the server had: `row on engine`.
pub(crate) fn saturated(record: &Record, rows: &[&Row]) -> Vec<String> {
    let over = |spread: Option<Spread>| spread.is_some_and(|spread| spread.median > SATURATED);
    let mut cells = Vec::new();
    for row in rows {
        for &engine in &record.engines {
            let client = record.spread(row, engine, |one| Some(one.client_busy()));
            let server = record.spread(row, engine, |one| Some(one.server_busy()));
            if over(client) && !over(server) {
                cells.push(format!("{} on {engine}", row.name));
            }
        }
    }
    cells
}

fn costs(record: &Record, rows: &[&Row]) -> String {
    let (base, others) = match record.engines.split_first() {
        Some((first, others)) => (Some(*first), others),
        None => (None, [].as_slice()),
    };
    let base_name = base.map(|base| base.to_string()).unwrap_or_default();
    let columns = Columns::beside(others.len());
    let own: Vec<_> = others
        .iter()
        .filter_map(|other| Some((*other, other.own_floor()?)))
        .filter(|(_, floor)| others.contains(floor))
        .collect();
    let mut header = vec!["server CPU".to_owned(), "per".to_owned()];
    header.extend(base.map(|_| format!("{base_name} µs")));
    for other in others {
        header.extend(columns.header(&other.to_string(), &base_name));
    }
    header.extend(
        own.iter()
            .map(|(other, floor)| format!("{other} ÷ {floor}")),
    );
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.title(), row.unit().to_owned()];
        let base_costs = base
            .map(|base| record.values(row, base, Measured::server_us))
            .unwrap_or_default();
        line.extend(base.map(|_| columns.base(&base_costs)));
        for other in others {
            let costs = record.values(row, *other, Measured::server_us);
            line.extend(columns.cells(&costs, &base_costs));
        }
        line.extend(own.iter().map(|(other, floor)| {
            let [costs, floor] =
                [other, floor].map(|one| record.values(row, *one, Measured::server_us));
            shown(Spread::of_ratios(&costs, &floor))
        }));
        line
    });
    let rounds = record.rounds;
    let what = columns.note();
    format!(
        "{}\n{what} of {rounds} rounds; ratios are of the same round.\n",
        table(&header, lines)
    )
}

fn throughput(record: &Record, rows: &[&Row]) -> String {
    let header = [
        "throughput",
        "engine",
        "per second",
        "server busy",
        "client µs",
        "client busy",
    ];
    let lines = rows.iter().flat_map(|row| {
        record.engines.iter().map(|&engine| {
            let of = |value: fn(&Measured) -> f64| {
                record.spread(row, engine, |measured| Some(value(measured)))
            };
            let rate = of(Measured::per_second).map(|rate| format!("{:.0}", rate.median));
            vec![
                row.title(),
                engine.to_string(),
                rate.unwrap_or_else(|| shown(None)),
                percent(of(Measured::server_busy)),
                shown(record.spread(row, engine, Measured::client_us)),
                percent(of(Measured::client_busy)),
            ]
        })
    });
    table(&header.map(str::to_owned), lines)
}

/// Says where the client, and not the server, set the pace.
fn notes(record: &Record, rows: &[&Row]) -> Option<String> {
    let cells = saturated(record, rows);
    (!cells.is_empty()).then(|| {
        format!(
            "The client was the bottleneck at {}. The cost of a message holds there too, but it \
             is the cost in batches as the client makes them: a server that waits for its client \
             finds fewer messages per turn than one that is behind.\n",
            cells.join(", ")
        )
    })
}

fn memory(record: &Record, rows: &[&Row]) -> String {
    const MIB: f64 = 1_048_576.0;
    let header = [
        "memory of the server",
        "engine",
        "before MiB",
        "open MiB",
        "bytes per connection",
    ];
    let lines = rows.iter().flat_map(|row| {
        record.engines.iter().map(|&engine| {
            let mib = |value: fn(&Measured) -> u64| {
                let spread = record.spread(row, engine, |one| Some(value(one) as f64 / MIB));
                spread.map_or_else(
                    || shown(None),
                    |Spread { median, .. }| format!("{median:.*}", digits(median)),
                )
            };
            let each = |measured: &Measured| Some(measured.bytes_per_connection());
            vec![
                row.title(),
                engine.to_string(),
                mib(|measured| measured.memory_before),
                mib(|measured| measured.memory_open),
                shown(record.spread(row, engine, each)),
            ]
        })
    });
    let note = "Resident heap and stacks, without code that is read in on the way. User space \
                only: the kernel's share of a socket is the same for all. Without transparent \
                huge pages, which round up to 2 MiB.";
    format!("{}\n{note}\n", table(&header.map(str::to_owned), lines))
}

#[cfg(test)]
mod tests {
    use throng_bench::serve::Engine;

    use super::*;
    use crate::contender::Contender;
    use crate::measure::Sample;
    use crate::row;

    fn sample(row: &str, engine: Engine, round: u32, server: f64, client: f64) -> Sample {
        let measured = Measured {
            connections: 1000,
            messages: 100_000,
            seconds: 1.0,
            server_cpu: server,
            client_cpu: client,
            memory_before: 4 << 20,
            memory_open: 5 << 20,
            ..Measured::default()
        };
        Sample {
            row: row.to_owned(),
            engine: engine.into(),
            round,
            measured,
        }
    }

    fn record(rows: &[&str], engines: &[Engine], samples: &[Sample]) -> Record {
        Record {
            rows: rows.iter().map(|name| row::named(name).unwrap()).collect(),
            engines: engines.iter().copied().map(Contender::from).collect(),
            rounds: 2,
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn costs_stand_side_by_side_with_their_ratio() {
        let samples = [
            sample("echo-100", Engine::Floor, 0, 0.5, 0.5),
            sample("echo-100", Engine::Throng, 0, 0.6, 0.5),
            // As measured in the second round: the other way round.
            sample("echo-100", Engine::Throng, 1, 0.9, 0.5),
            sample("echo-100", Engine::Floor, 1, 0.9, 0.5),
        ];
        let engines = [Engine::Floor, Engine::Throng];
        let text = render(&record(&["echo-100"], &engines, &samples));
        let line = "| echo 20 B × 100, depth 1 | message | 7.00 (5.00–9.00) | 7.50 (6.00–9.00) \
                    | 1.10 (1.00–1.20) |";
        assert!(text.contains(line), "{text}");
        assert!(
            !text.contains("bottleneck") && !text.contains("memory"),
            "{text}"
        );
    }

    #[test]
    fn a_driver_is_compared_with_its_own_floor_too() {
        let contender = |text: &str| text.parse::<Contender>().unwrap();
        let names = ["floor", "floor uring", "throng", "throng uring"];
        let samples: Vec<_> = names
            .iter()
            .zip([0.8, 0.4, 0.8, 0.6])
            .map(|(name, cost)| Sample {
                engine: contender(name),
                ..sample("echo-100", Engine::Floor, 0, cost, 0.5)
            })
            .collect();
        let mut record = record(&["echo-100"], &[], &samples);
        record.engines = names.map(contender).to_vec();
        let text = render(&record);
        let head = "throng uring µs (÷ floor) | throng uring ÷ floor uring |";
        assert!(text.contains(head), "{text}");
        let line = "| 8.00 | 4.00 (0.50) | 8.00 (1.00) | 6.00 (0.75) | 1.50 (1.50–1.50) |";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_saturated_client_is_told() {
        let samples = [
            sample("echo-100", Engine::Floor, 0, 0.6, 0.99),
            sample("room-1k-8", Engine::Floor, 0, 0.99, 0.99),
        ];
        let rows = ["echo-100", "room-1k-8"];
        let text = render(&record(&rows, &[Engine::Floor], &samples));
        assert!(text.contains("bottleneck at echo-100 on floor."), "{text}");
    }

    #[test]
    fn memory_is_told_per_connection() {
        let samples = [sample("idle-10k", Engine::Floor, 0, 0.0, 0.0)];
        let text = render(&record(&["idle-10k"], &[Engine::Floor], &samples));
        let line = "| idle × 10000, outside rooms | floor | 4.00 | 5.00 | 1049 (1049–1049) |";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("server CPU"), "{text}");
    }
}
