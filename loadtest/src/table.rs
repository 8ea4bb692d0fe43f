//! The report for people.

use std::io::{self, Write, stdout};

use throng_loadtest::{Client, Connections, Faults, Pace, ProcessMemory, Report, Scenario, Server};

/// An open loop that sent less than this part of its rate has not kept it.
const KEPT: f64 = 0.99;

/// Prints the report to standard output.
pub(crate) fn print(report: &Report) -> io::Result<()> {
    let mut out = stdout().lock();
    for (name, text) in rows(report) {
        writeln!(out, "{name:<12}{text}")?;
    }
    out.flush()
}

fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = vec![("connections", connections(report))];
    if report.scenario != Scenario::Idle {
        rows.extend(message_rows(report));
    }
    if let Some(server) = &report.server {
        rows.extend(server_rows(server));
    }
    rows.push(("client", client(report)));
    rows.extend(notes(report).into_iter().map(|note| ("note", note)));
    rows
}

fn connections(report: &Report) -> String {
    let Connections {
        opened,
        failed,
        dropped,
        connect_seconds,
        ..
    } = report.connections;
    format!(
        "{opened} opened, {failed} failed, {dropped} dropped; all connected in \
         {connect_seconds:.3} s"
    )
}

fn message_rows(report: &Report) -> [(&'static str, String); 4] {
    let Report {
        messages,
        latency,
        faults,
        ..
    } = report;
    let received = match report.scenario {
        Scenario::Broadcast => "delivered",
        Scenario::Idle | Scenario::Echo => "received",
    };
    let Faults {
        lost,
        duplicated,
        reordered,
        corrupt,
        ..
    } = faults;
    [
        (
            "messages",
            format!("{} sent, {} {received}", messages.sent, messages.received),
        ),
        (
            "window",
            format!(
                "{:.3} s: {:.0} sent per second, {:.0} {received} per second",
                messages.window_seconds, messages.sent_per_second, messages.received_per_second
            ),
        ),
        (
            "latency",
            format!(
                "min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                time(latency.min_ns),
                time(latency.p50_ns),
                time(latency.p90_ns),
                time(latency.p99_ns),
                time(latency.p99_9_ns),
                time(latency.max_ns)
            ),
        ),
        (
            "faults",
            format!(
                "{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt"
            ),
        ),
    ]
}

fn client(report: &Report) -> String {
    let Client {
        workers,
        cpu_us_per_message,
        busy,
        ..
    } = report.client;
    let cost = each(cpu_us_per_message);
    let whose = if workers > 1 {
        format!("the busiest of {workers} workers'")
    } else {
        "its".into()
    };
    format!("{cost}{whose} core {:.0} % busy", busy * 100.0)
}

/// What to bear in mind with the figures.
fn notes(report: &Report) -> Vec<String> {
    let Report {
        client,
        server,
        messages,
        ..
    } = report;
    let mut notes = Vec::new();
    if client.saturated {
        let known = match server {
            Some(_) => "and no thread of the server was",
            None => "and whether the server was, too, --server-pid would tell",
        };
        notes.push(format!(
            "the client was the bottleneck: its core was busy for more than 95 % of the window, \
             {known}; give it more --workers, or trust the server's CPU per message only"
        ));
    }
    if let Pace::Rate(rate) = report.pace
        && messages.sent_per_second < KEPT * rate
    {
        notes.push(format!(
            "the rate was not kept: {:.0} of {rate:.0} messages per second were sent; latencies \
             count from when they should have been",
            messages.sent_per_second
        ));
    }
    notes
}

fn server_rows(server: &Server) -> Vec<(&'static str, String)> {
    let sizes = |memory: ProcessMemory| {
        format!(
            "{} resident, {} anonymous",
            bytes(memory.rss_bytes),
            bytes(memory.anon_bytes)
        )
    };
    vec![
        (
            "server",
            format!(
                "{}{:.0} % of a core busy",
                each(server.cpu_us_per_message),
                server.busy * 100.0
            ),
        ),
        (
            "memory",
            format!(
                "before {}; with connections {}; per connection {:.0} bytes resident, {:.0} \
                 anonymous",
                sizes(server.memory_before),
                sizes(server.memory_open),
                server.rss_bytes_per_connection,
                server.anon_bytes_per_connection
            ),
        ),
    ]
}

fn each(cpu_us: Option<f64>) -> String {
    cpu_us.map_or_else(String::new, |cpu| {
        format!("{cpu:.3} µs of CPU per message, ")
    })
}

fn time(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

fn bytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_a_readable_unit() {
        assert_eq!(time(1_234), "1.2 µs");
        assert_eq!(time(12_345_678), "12.35 ms");
        assert_eq!(time(61_000_000_000), "61.00 s");
    }
}
