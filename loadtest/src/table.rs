//! The report for people.

use std::io::{self, Write, stdout};

use throng_loadtest::{Client, Connections, Faults, Pace, Report, Scenario, Server};

/// An open loop that sent less than this part of its rate has not kept it.
const KEPT: f64 = 0.99;

/// What the system leaves unsaid where it has no `/proc`.
const UNTOLD: &str = "what the server used is not known: this system has no /proc as Linux has it";

/// Prints the report to standard output; `untold` if the server would have been sampled, but that
/// the system does not tell.
pub(crate) fn print(report: &Report, untold: bool) -> io::Result<()> {
    let mut out = stdout().lock();
    for (name, text) in rows(report, untold) {
        writeln!(out, "{name:<12}{text}")?;
    }
    out.flush()
}

fn rows(report: &Report, untold: bool) -> Vec<(&'static str, String)> {
    let mut rows = vec![("connections", connections(report))];
    let sends = report.scenario != Scenario::Idle;
    if sends {
        rows.extend(message_rows(report));
    }
    if let Some(server) = &report.server {
        rows.extend(server_rows(server));
    }
    rows.push(("client", client(report)));
    let notes = notes(report, untold).into_iter();
    rows.extend(notes.map(|note| ("note", note)));
    if sends {
        rows.push(("faults", faults(&report.faults)));
    }
    rows
}

fn connections(report: &Report) -> String {
    let Connections {
        opened,
        failed,
        dropped,
        unclosed,
        connect_seconds,
        ..
    } = report.connections;
    format!(
        "{opened} opened, {failed} failed, {dropped} dropped, {unclosed} unclosed; all connected \
         in {connect_seconds:.3} s"
    )
}

fn message_rows(report: &Report) -> [(&'static str, String); 3] {
    let Report {
        messages, latency, ..
    } = report;
    let received = match report.scenario {
        Scenario::Broadcast => "delivered",
        Scenario::Idle | Scenario::Echo => "received",
    };
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
    ]
}

fn faults(faults: &Faults) -> String {
    let Faults {
        lost,
        duplicated,
        reordered,
        corrupt,
        ..
    } = faults;
    format!("{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt")
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
fn notes(report: &Report, untold: bool) -> Vec<String> {
    let Report {
        client,
        server,
        messages,
        ..
    } = report;
    let mut notes = Vec::new();
    let verdict = match (client.saturated, server) {
        _ if !client.is_at_its_limit() => None,
        (false, _) => Some("so was the busiest thread of the server"),
        (true, Some(_)) => Some("no thread of the server was: the client was the bottleneck"),
        (true, None) if untold => Some("it may have been the bottleneck"),
        (true, None) => Some("it may have been the bottleneck; --server-pid would tell"),
    };
    if let Some(verdict) = verdict {
        notes.push(format!(
            "the client's core was busy for more than 95 % of the window, and {verdict}; with more \
             --workers the server may do more, its CPU per message holds as it is"
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
    notes.extend(untold.then(|| UNTOLD.to_owned()));
    notes
}

fn server_rows(server: &Server) -> [(&'static str, String); 3] {
    let Server {
        busy,
        busiest_thread,
        memory_before,
        memory_open,
        ..
    } = server;
    [
        (
            "server",
            format!(
                "{}{:.0} % of a core busy, its busiest thread {:.0} %",
                each(server.cpu_us_per_message),
                busy * 100.0,
                busiest_thread * 100.0
            ),
        ),
        (
            "memory",
            format!(
                "{} resident before, {} with all connections open",
                mebibytes(memory_before.rss_bytes),
                mebibytes(memory_open.rss_bytes)
            ),
        ),
        (
            "",
            format!(
                "{:.0} bytes resident per connection, {:.0} anonymous (user space only)",
                server.rss_bytes_per_connection, server.anon_bytes_per_connection
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

fn mebibytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use throng_loadtest::{Latency, Messages};

    use super::*;

    fn report() -> Report {
        Report {
            scenario: Scenario::Echo,
            size: 20,
            text: false,
            pace: Pace::Depth(1),
            seed: 0,
            connections: Connections::default(),
            messages: Messages::default(),
            latency: Latency::default(),
            faults: Faults::default(),
            client: Client::default(),
            server: None,
        }
    }

    #[test]
    fn a_server_that_the_system_hides_is_noted_once_asked_for() {
        let mut report = report();
        assert_eq!(notes(&report, false), [""; 0]);
        assert_eq!(notes(&report, true), [UNTOLD]);
        (report.client.busy, report.client.saturated) = (1.0, true);
        assert!(notes(&report, false)[0].contains("--server-pid would tell"));
        assert!(!notes(&report, true)[0].contains("--server-pid"));
    }

    #[test]
    fn times_keep_a_readable_unit() {
        assert_eq!(time(1_234), "1.2 µs");
        assert_eq!(time(12_345_678), "12.35 ms");
        assert_eq!(time(61_000_000_000), "61.00 s");
    }
}
