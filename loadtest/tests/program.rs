//! The program as an operator runs it: exit codes, the table, JSON, several workers and source
//! addresses, a server of its own.

mod program_run;
mod server;

use std::process::Command;

use program_run::{assert_says, briefly, clean, loadtest, program, stderr};
use server::{Fault, Kind, Manner, start};
use throng_loadtest::{Report, Scenario};

const KINDS: [(Kind, &str); 2] = [(Kind::Echo, "echo"), (Kind::Broadcast, "broadcast")];

#[test]
fn clean_runs_exit_with_zero_and_say_nothing() {
    for (kind, scenario) in KINDS {
        let addr = start(kind, Fault::None, Manner::default());
        let args = [scenario, "--connections", "20", "--depth", "4", "--json"];
        let (table, _) = clean(|file| loadtest(addr, &[&args, [file].as_slice()].concat()));
        let parts = [
            "20 opened, 0 failed, 0 dropped",
            "p99.9",
            "0 lost, 0 duplicated, 0 reordered",
            "µs of CPU per message",
        ];
        assert_says(&table, &parts);
    }
}

#[test]
fn a_spawned_server_needs_nothing_else() {
    for scenario in ["idle", "echo", "broadcast"] {
        let args = [scenario, "--connections", "20", "--spawn", "--json"];
        let (table, report) = clean(|file| {
            let args = [&args, [file].as_slice()].concat();
            briefly(Command::new(program()).args(&args), &args)
        });
        assert_says(&table, &["20 opened"]);
        assert_sampled(&table, &report);
    }
}

#[test]
fn several_workers_share_a_run() {
    let pid = std::process::id().to_string();
    for (kind, scenario) in KINDS {
        let addr = start(kind, Fault::None, Manner::default());
        let args = [scenario, "--connections", "51", "--workers", "2"];
        let more = ["--server-pid", pid.as_str(), "--json"];
        let args = [args.as_slice(), &more].concat();
        let (table, report) = clean(|file| loadtest(addr, &[args.as_slice(), &[file]].concat()));
        assert_eq!((report.connections.opened, report.client.workers), (51, 2));
        let copies = if kind == Kind::Broadcast { 51 } else { 1 };
        assert_eq!(report.messages.received, report.messages.sent * copies);
        assert!(report.latency.samples > 0 && report.messages.received_in_window > 0);
        assert_sampled(&table, &report);
    }
}

/// The figures of the server's process are there, or a note that this system has none.
#[track_caller]
fn assert_sampled(table: &str, report: &Report) {
    let Some(server) = &report.server else {
        return assert_says(table, &["this system has no /proc"]);
    };
    assert_says(table, &["bytes resident per connection"]);
    assert!(server.memory_open.rss_bytes > 0);
    assert!(report.scenario == Scenario::Idle || server.cpu_us_per_message > Some(0.0));
}

/// Also where the messages are another worker's and do not tell when they were sent.
#[test]
fn every_delivery_of_an_open_loop_is_timed() {
    let addr = start(Kind::Broadcast, Fault::None, Manner::default());
    for more in [["--workers", "1"], ["--workers", "2"]] {
        let args = ["broadcast", "--connections", "51", "--rate", "200"];
        let args = [args.as_slice(), &["--lengths-only", "--json"]].concat();
        let (_, report) = clean(|file| loadtest(addr, &[args.as_slice(), &[file], &more].concat()));
        // 300 ms at 200 per second, to everybody.
        let samples = report.latency.samples;
        assert!(samples.abs_diff(60 * 51) <= 51, "{samples} with {more:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn workers_are_as_many_as_open_files_allow() {
    let addr = start(Kind::Echo, Fault::None, Manner::default());
    let url = format!("ws://{addr}/");
    let args = ["echo", "--url", &url, "--connections", "150"];
    let limited = |args: &[&str]| {
        let mut shell = Command::new("sh");
        // 64 of the 128 are kept for other things than connections.
        shell.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\"", program()]);
        briefly(shell.args(args), args)
    };
    let (_, report) = clean(|file| limited(&[args.as_slice(), &["--json", file]].concat()));
    assert_eq!((report.connections.opened, report.client.workers), (150, 3));

    let output = limited(&[args.as_slice(), &["--workers", "2"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert_says(
        &stderr(&output),
        &["--workers 2: must be at least 3", "ulimit -n"],
    );

    let output = limited(&["idle", "--spawn", "--connections", "65"]);
    assert_eq!(output.status.code(), Some(2));
    assert_says(
        &stderr(&output),
        &["--connections 65: must be at most 64 with --spawn"],
    );
}

/// Of loopback, only Linux lets every address be used without setting it up.
#[cfg(target_os = "linux")]
#[test]
fn connections_are_spread_over_source_addresses() {
    use std::collections::BTreeSet;

    let sources = |args: &[&str]| {
        let (addr, peers) = server::start_watched(Kind::Echo, Fault::None, Manner::default());
        let common = ["echo", "--connections", "50", "--json"];
        clean(|file| loadtest(addr, &[common.as_slice(), &[file], args].concat()));
        let peers = peers.lock().unwrap();
        let each: BTreeSet<String> = peers.iter().map(ToString::to_string).collect();
        let most = each.iter().map(|one| {
            let from_it = peers.iter().filter(|peer| peer.to_string() == *one);
            from_it.count()
        });
        (most.max().unwrap(), each.into_iter().collect::<Vec<_>>())
    };
    let three = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(str::to_owned);
    assert_eq!(sources(&["--per-source", "20"]), (17, three.to_vec()));
    assert_eq!(
        sources(&["--per-source", "20", "--workers", "2"]),
        (17, three.to_vec())
    );
    assert_eq!(
        sources(&["--source", "127.0.0.2,127.0.0.3"]),
        (25, three[1..].to_vec())
    );
}

#[test]
fn nobody_listening_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let output = loadtest(addr, &["idle", "--connections", "5"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("no connection to {addr} could be opened");
    assert_says(&stderr(&output), &[&expected, "refused"]);
}

/// Settings and what is said about them.
const UNUSABLE: [(&str, &str); 18] = [
    (
        "broadcast --size 19",
        "--size 19: must be at least 20 bytes",
    ),
    (
        "broadcast --size 27 --text",
        "--size 27: must be at least 28",
    ),
    (
        "broadcast --connections 5 --senders 6",
        "--senders 6: must be at most 5",
    ),
    (
        "broadcast --senders 2 --lengths-only",
        "--senders 2: must be at most 1",
    ),
    (
        "broadcast --connections 5 --senders 4 --workers 2",
        "--senders 4: must be at most 3",
    ),
    ("echo --depth 0", "--depth 0: must be at least 1"),
    ("echo --rate 0", "--rate 0: must be a number above 0"),
    (
        "echo --rate 1e9",
        "--rate 1000000000: must be at most 10000000",
    ),
    (
        "echo --rate 9 --depth 9",
        "'--rate <PER_SECOND>' cannot be used with '--depth <K>'",
    ),
    (
        "idle --connections 0",
        "--connections 0: must be at least 1",
    ),
    (
        "idle --connections 3 --workers 4",
        "--workers 4: must be at most 3",
    ),
    (
        "idle --duration 0",
        "--duration 0: must be a number above 0",
    ),
    (
        "idle --duration soon",
        "'soon' for '--duration <SECS>': must be a number",
    ),
    ("idle --source ::1", "--source ::1: must be of the family"),
    (
        "idle --source 127.0.0.2 --per-source 10",
        "--source with 1 of them: 1000 connections need at least 100",
    ),
    (
        "idle --cpu 4000",
        "--cpu 4000: must be a core of this machine: 0",
    ),
    (
        "idle --spawn",
        "'--spawn' cannot be used with '--url <URL>'",
    ),
    ("idle --shards 2", "cannot be used with"),
];

#[test]
fn unusable_settings_exit_with_two() {
    let addr = "127.0.0.1:1".parse().unwrap();
    for (args, part) in UNUSABLE {
        let args: Vec<&str> = args.split(' ').collect();
        let output = loadtest(addr, &args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_says(&said, &[part]);
    }
}

#[test]
fn the_help_tells_the_exit_codes_and_what_memory_is() {
    let help = |args: &[&str]| {
        let output = Command::new(program()).args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_says(
        &help(&["--help"]),
        &["Exit codes", "idle", "echo", "broadcast"],
    );
    for scenario in ["idle", "echo", "broadcast"] {
        let text = help(&[scenario, "--help"]);
        assert_says(
            &text,
            &["Exit codes", "user-space resident memory per connection"],
        );
    }
}
