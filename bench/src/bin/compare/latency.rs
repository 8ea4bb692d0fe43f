//! What was measured at a fixed rate, as tables in Markdown.

use crate::contender::Contender;
use crate::delay::Delay;
use crate::load::Measured;
use crate::record::Record;
use crate::row::{Figure, Row};
use crate::spread::Spread;
use crate::table::{percent, saturated, shown, table};

/// The tables of latencies that the record fills, and what has to be known to read them.
pub(crate) fn render(record: &Record) -> Vec<String> {
    let [paced, bystanders] = [Figure::Delay, Figure::Bystanders].map(|one| record.rows(one));
    let mut parts = Vec::new();
    if !paced.is_empty() {
        parts.push(delays(record, &paced));
    }
    if !bystanders.is_empty() {
        parts.push(beside(record, &bystanders));
    }
    if !parts.is_empty() {
        parts.push(note(record, &[paced, bystanders].concat()));
    }
    parts
}

fn delays(record: &Record, rows: &[&Row]) -> String {
    let header = [
        "latency at a fixed rate",
        "engine",
        "p50 ms",
        "p99 ms",
        "max ms",
        "server busy",
        "client busy",
    ];
    let lines = rows.iter().flat_map(|row| {
        record.engines.iter().map(|&engine| {
            let of = |value: fn(Delay) -> f64| {
                shown(record.spread(row, engine, |one| one.delay.map(value)))
            };
            let [server, client] = busy(record, row, engine);
            vec![
                row.title(),
                engine.to_string(),
                of(Delay::p50_ms),
                of(Delay::p99_ms),
                of(Delay::max_ms),
                server,
                client,
            ]
        })
    });
    table(&header.map(str::to_owned), lines)
}

fn beside(record: &Record, rows: &[&Row]) -> String {
    let header = [
        "bystanders of a room",
        "engine",
        "p50 ms, room silent",
        "p50 ms",
        "p99 ms, room silent",
        "p99 ms",
        "p99 ÷ silent",
        "p99 ms of the room",
        "server busy",
        "client busy",
    ];
    let lines = rows.iter().flat_map(|row| {
        record.engines.iter().map(|&engine| {
            let silent = |value: fn(Delay) -> f64| {
                record.values(row, engine, |one| one.beside?.silent.map(value))
            };
            let meanwhile =
                |value: fn(Delay) -> f64| record.values(row, engine, |one| one.delay.map(value));
            let room = record.spread(row, engine, |one| one.beside?.room.map(Delay::p99_ms));
            let [server, client] = busy(record, row, engine);
            let (quiet, loud) = (silent(Delay::p99_ms), meanwhile(Delay::p99_ms));
            let ratios = Spread::of_ratios(&loud, &quiet);
            let spread = |values: Vec<Option<f64>>| shown(Spread::of(values.into_iter().flatten()));
            vec![
                row.title(),
                engine.to_string(),
                spread(silent(Delay::p50_ms)),
                spread(meanwhile(Delay::p50_ms)),
                spread(quiet),
                spread(loud),
                shown(ratios),
                shown(room),
                server,
                client,
            ]
        })
    });
    table(&header.map(str::to_owned), lines)
}

fn busy(record: &Record, row: &Row, engine: Contender) -> [String; 2] {
    [Measured::server_busy, Measured::client_busy]
        .map(|busy| percent(record.spread(row, engine, |one| Some(busy(one)))))
}

fn note(record: &Record, rows: &[&Row]) -> String {
    let mut text = format!(
        "Medians (min–max) of {} rounds. Latency counts from the moment when a message should have \
         been sent, whatever the server was doing then, to its arrival; a room's is that of each \
         delivery, and one beside bystanders gives way to them on the client's core. Nothing was \
         lost, came twice or out of order: such a measurement does not count.\n",
        record.rounds
    );
    let cells = saturated(record, rows);
    if !cells.is_empty() {
        let cells = cells.join(", ");
        text += &format!(
            "\nThe client had no more to give at {cells}: the latency there is its own, too.\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use throng_bench::serve::Engine;

    use super::*;
    use crate::bystanders::Beside;
    use crate::measure::Sample;
    use crate::row;

    fn delay(milliseconds: u64) -> Option<Delay> {
        let ns = milliseconds * 1_000_000;
        Some(Delay {
            p50_ns: ns,
            p99_ns: 2 * ns,
            max_ns: 3 * ns,
        })
    }

    fn record(row: &str, engine: Engine, measured: &[Measured]) -> Record {
        let sample = |(round, measured): (u32, &Measured)| Sample {
            row: row.to_owned(),
            engine: engine.into(),
            round,
            measured: measured.clone(),
        };
        Record {
            rows: vec![row::named(row).unwrap()],
            engines: vec![Engine::Floor.into(), Engine::Throng.into()],
            rounds: 2,
            samples: (0..).zip(measured).map(sample).collect(),
        }
    }

    fn measured(milliseconds: u64, client_cpu: f64) -> Measured {
        Measured {
            seconds: 1.0,
            server_cpu: 0.25,
            client_cpu,
            delay: delay(milliseconds),
            ..Measured::default()
        }
    }

    #[test]
    fn percentiles_are_told_for_each_engine() {
        let measured = [measured(2, 0.5), measured(4, 0.5)];
        let text = render(&record("room-10k-rate8", Engine::Throng, &measured)).concat();
        let line = "| throng | 3.00 (2.00–4.00) | 6.00 (4.00–8.00) | 9.00 (6.00–12.00) | 25 % \
                    | 50 % |";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("| floor | – | – | – | – | – |"), "{text}");
        assert!(!text.contains("bystanders of a room"), "{text}");
        assert!(!text.contains("no more to give"), "{text}");
    }

    #[test]
    fn bystanders_are_compared_with_a_silent_room() {
        let with = |mut measured: Measured, silent, room| {
            let (silent, room) = (delay(silent), delay(room));
            measured.beside = Some(Beside { silent, room });
            measured
        };
        // The ratio is of the same round: 3 ÷ 1 and 4 ÷ 4.
        let measured = [with(measured(3, 0.99), 1, 5), with(measured(4, 0.99), 4, 5)];
        let text = render(&record("bystanders", Engine::Throng, &measured)).concat();
        let line = "| throng | 2.50 (1.00–4.00) | 3.50 (3.00–4.00) | 5.00 (2.00–8.00) \
                    | 7.00 (6.00–8.00) | 2.00 (1.00–3.00) | 10.0 (10.0–10.0) | 25 % | 99 % |";
        assert!(text.contains(line), "{text}");
        let told = "no more to give at bystanders on throng:";
        assert!(text.contains(told), "{text}");
    }
}
