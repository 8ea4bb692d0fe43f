//! The measurements as tables in Markdown.

use std::fmt::Write;

use throng_bench::serve::Engine;
use throng_loadtest::machine::SATURATED;

use crate::columns::Columns;
use crate::engine::name;
use crate::load::{Load, Measured};
use crate::measure::{Plan, Sample};
use crate::row::Row;
use crate::spread::{Spread, digits};

/// All tables that the samples fill, and what has to be known to read them.
pub(crate) fn render(plan: &Plan, samples: &[Sample]) -> String {
    let cells = Cells { plan, samples };
    let (idle, loaded): (Vec<_>, Vec<_>) = plan.rows.iter().partition(|row| row.load == Load::Idle);
    let mut parts = Vec::new();
    if !loaded.is_empty() {
        parts.push(costs(&cells, &loaded));
        parts.push(throughput(&cells, &loaded));
        parts.extend(notes(&cells, &loaded));
    }
    if !idle.is_empty() {
        parts.push(memory(&cells, &idle));
    }
    parts.join("\n")
}

struct Cells<'a> {
    plan: &'a Plan,
    samples: &'a [Sample],
}

impl Cells<'_> {
    /// What `value` yields for each measurement of an engine at a row, by round.
    fn values(&self, row: &Row, engine: Engine, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        let mut of_cell: Vec<_> = self
            .samples
            .iter()
            .filter(|sample| sample.row == row.name && sample.engine == engine)
            .collect();
        of_cell.sort_by_key(|sample| sample.round);
        of_cell
            .iter()
            .map(|sample| value(&sample.measured))
            .collect()
    }

    fn spread(&self, row: &Row, engine: Engine, value: impl Fn(&Measured) -> f64) -> String {
        shown(Spread::of(self.values(row, engine, value)))
    }

    fn median(&self, row: &Row, engine: Engine, value: impl Fn(&Measured) -> f64) -> f64 {
        Spread::of(self.values(row, engine, value)).map_or(f64::NAN, |spread| spread.median)
    }

    /// The engine that ratios are to, and the others.
    fn engines(&self) -> (Option<Engine>, &[Engine]) {
        match self.plan.engines.split_first() {
            Some((first, others)) => (Some(*first), others),
            None => (None, &[]),
        }
    }
}

fn costs(cells: &Cells<'_>, rows: &[&Row]) -> String {
    let (base, others) = cells.engines();
    let base_name = base.map(name).unwrap_or_default();
    let columns = Columns::beside(others.len());
    let mut header = vec!["server CPU".to_owned(), "per".to_owned()];
    header.extend(base.map(|_| format!("{base_name} µs")));
    for other in others {
        header.extend(columns.header(&name(*other), &base_name));
    }
    let cost = |measured: &Measured| measured.server_us().unwrap_or(f64::NAN);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.title(), row.unit().to_owned()];
        let base_costs = base
            .map(|base| cells.values(row, base, cost))
            .unwrap_or_default();
        line.extend(base.map(|_| columns.base(&base_costs)));
        for other in others {
            line.extend(columns.cells(&cells.values(row, *other, cost), &base_costs));
        }
        line
    });
    let rounds = cells.plan.rounds;
    let what = columns.note();
    format!(
        "{}\n{what} of {rounds} rounds; ratios are of the same round.\n",
        table(&header, lines)
    )
}

fn throughput(cells: &Cells<'_>, rows: &[&Row]) -> String {
    let header = [
        "throughput",
        "engine",
        "per second",
        "server busy",
        "client µs",
        "client busy",
    ];
    let lines = rows.iter().flat_map(|row| {
        cells.plan.engines.iter().map(|&engine| {
            let percent = |value: f64| format!("{:.0} %", value * 100.0);
            vec![
                row.title(),
                name(engine),
                format!("{:.0}", cells.median(row, engine, Measured::per_second)),
                percent(cells.median(row, engine, Measured::server_busy)),
                cells.spread(row, engine, |measured| {
                    measured.client_us().unwrap_or(f64::NAN)
                }),
                percent(cells.median(row, engine, Measured::client_busy)),
            ]
        })
    });
    table(&header.map(str::to_owned), lines)
}

/// Says where the client, and not the server, set the pace.
fn notes(cells: &Cells<'_>, rows: &[&Row]) -> Option<String> {
    let mut where_it_did = Vec::new();
    for row in rows {
        for &engine in &cells.plan.engines {
            let client = cells.median(row, engine, Measured::client_busy);
            let server = cells.median(row, engine, Measured::server_busy);
            if client > SATURATED && server <= SATURATED {
                where_it_did.push(format!("{} on {}", row.name, name(engine)));
            }
        }
    }
    (!where_it_did.is_empty()).then(|| {
        format!(
            "The client was the bottleneck at {}. The cost of a message holds there too, but it \
             is the cost in batches as the client makes them: a server that waits for its client \
             finds fewer messages per turn than one that is behind.\n",
            where_it_did.join(", ")
        )
    })
}

fn memory(cells: &Cells<'_>, rows: &[&Row]) -> String {
    const MIB: f64 = 1_048_576.0;
    let header = [
        "memory of the server",
        "engine",
        "RSS before MiB",
        "RSS open MiB",
        "bytes per connection",
    ];
    let lines = rows.iter().flat_map(|row| {
        cells.plan.engines.iter().map(|&engine| {
            let mib = |value: fn(&Measured) -> u64| {
                let median = cells.median(row, engine, |measured| value(measured) as f64) / MIB;
                format!("{median:.*}", digits(median))
            };
            vec![
                row.title(),
                name(engine),
                mib(|measured| measured.rss_before),
                mib(|measured| measured.rss_open),
                cells.spread(row, engine, Measured::bytes_per_connection),
            ]
        })
    });
    let note = "User space only: the kernel's share of a socket is the same for all. Without \
                transparent huge pages, which round up to 2 MiB.";
    format!("{}\n{note}\n", table(&header.map(str::to_owned), lines))
}

fn table(header: &[String], lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|", header.join(" | "));
    text.push_str(&"---|".repeat(header.len()));
    text.push('\n');
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text
}

pub(crate) fn shown(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row;

    fn sample(row: &str, engine: Engine, round: u32, server: f64, client: f64) -> Sample {
        let measured = Measured {
            connections: 1000,
            messages: 100_000,
            seconds: 1.0,
            server_cpu: server,
            client_cpu: client,
            rss_before: 4 << 20,
            rss_open: 5 << 20,
            failures: Vec::new(),
        };
        Sample {
            row: row.to_owned(),
            engine,
            round,
            measured,
        }
    }

    fn plan(rows: &[&str], engines: &[Engine]) -> Plan {
        Plan {
            rows: rows.iter().map(|name| row::named(name).unwrap()).collect(),
            engines: engines.to_vec(),
            rounds: 2,
            seconds: 1.0,
            server_cpu: 0,
            load_cpu: 1,
        }
    }

    #[test]
    fn costs_stand_side_by_side_with_their_ratio() {
        let plan = plan(&["echo-100"], &[Engine::Floor, Engine::Throng]);
        let samples = [
            sample("echo-100", Engine::Floor, 0, 0.5, 0.5),
            sample("echo-100", Engine::Throng, 0, 0.6, 0.5),
            // As measured in the second round: the other way round.
            sample("echo-100", Engine::Throng, 1, 0.9, 0.5),
            sample("echo-100", Engine::Floor, 1, 0.9, 0.5),
        ];
        let text = render(&plan, &samples);
        let line = "| echo 20 B × 100, depth 1 | message | 7.00 (5.00–9.00) | 7.50 (6.00–9.00) \
                    | 1.10 (1.00–1.20) |";
        assert!(text.contains(line), "{text}");
        assert!(
            !text.contains("bottleneck") && !text.contains("memory"),
            "{text}"
        );
    }

    #[test]
    fn a_saturated_client_is_told() {
        let plan = plan(&["echo-100", "room-1k-8"], &[Engine::Floor]);
        let samples = [
            sample("echo-100", Engine::Floor, 0, 0.6, 0.99),
            sample("room-1k-8", Engine::Floor, 0, 0.99, 0.99),
        ];
        let text = render(&plan, &samples);
        assert!(text.contains("bottleneck at echo-100 on floor."), "{text}");
    }

    #[test]
    fn memory_is_told_per_connection() {
        let plan = plan(&["idle-10k"], &[Engine::Floor]);
        let text = render(&plan, &[sample("idle-10k", Engine::Floor, 0, 0.0, 0.0)]);
        let line = "| idle × 10000, outside rooms | floor | 4.00 | 5.00 | 1049 (1049–1049) |";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("server CPU"), "{text}");
    }
}
