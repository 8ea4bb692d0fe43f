//! The program as an operator runs it: exit codes, messages, JSON, several workers; and
//! that it notices everything a wrong server does.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::net::SocketAddr;
use std::process::{Command, Output};

use server::{FAULTY_MESSAGE, Fault, Kind, Manner, start};

fn loadtest(addr: SocketAddr, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(args)
        .args([
            "--url",
            &format!("ws://{addr}/"),
            "--duration",
            "0.3",
            "--warmup",
            "0.05",
        ])
        .args(["--patience", "0.5", "--seed", "11"])
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs against a server with one fault; returns what was said about it.
fn complaint(kind: Kind, fault: Fault, args: &[&str]) -> String {
    let scenario = match kind {
        Kind::Echo => "echo",
        Kind::Broadcast => "broadcast",
    };
    let addr = start(kind, fault, Manner::default());
    let all = [&[scenario, "--connections", "20", "--depth", "4"], args].concat();
    let output = loadtest(addr, &all);
    assert_eq!(output.status.code(), Some(1), "{fault:?} was not noticed");
    stderr(&output)
}

#[track_caller]
fn assert_says(complaint: &str, parts: &[&str]) {
    for part in parts {
        assert!(complaint.contains(part), "no {part:?} in: {complaint}");
    }
}

#[test]
fn clean_runs_exit_with_zero_and_say_nothing() {
    for (kind, scenario) in [(Kind::Echo, "echo"), (Kind::Broadcast, "broadcast")] {
        let addr = start(kind, Fault::None, Manner::default());
        let output = loadtest(addr, &[scenario, "--connections", "20", "--depth", "4"]);
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), "")
        );
        let table = String::from_utf8(output.stdout).unwrap();
        assert_says(
            &table,
            &[
                "20 opened, 0 failed, 0 dropped",
                "p99.9",
                "0 lost, 0 duplicated",
            ],
        );
    }
}

#[test]
fn every_wrong_message_of_an_echo_is_noticed() {
    let all_counts = |wrong: &str| {
        ["1 lost", "1 duplicated", "1 reordered", "1 corrupt"].map(|count| {
            if count.contains(wrong) {
                count.to_owned()
            } else {
                count.replacen('1', "0", 1)
            }
        })
    };
    for (fault, wrong) in [
        (Fault::Flip(0), "corrupt"),
        (Fault::Flip(11), "corrupt"),
        (Fault::Flip(19), "corrupt"),
        (Fault::Lengthen, "corrupt"),
        (Fault::Retype, "corrupt"),
        (Fault::Foreign, "corrupt"),
        (Fault::Drop, "lost"),
        (Fault::Duplicate, "duplicated"),
        (Fault::Swap, "reordered"),
    ] {
        let complaint = complaint(Kind::Echo, fault, &[]);
        assert_says(&complaint, &["first offence", "connection", "expected"]);
        assert_says(&complaint, &[&format!("message {FAULTY_MESSAGE}")]);
        for count in all_counts(wrong) {
            assert_says(&complaint, &[&count]);
        }
    }
}

#[test]
fn wrong_small_echoes_are_noticed() {
    for size in ["1", "5"] {
        for fault in [Fault::Flip(0), Fault::Drop, Fault::Duplicate, Fault::Swap] {
            let complaint = complaint(Kind::Echo, fault, &["--size", size]);
            assert_says(&complaint, &["first offence", "expected"]);
        }
    }
    for fault in [Fault::Lengthen, Fault::Drop, Fault::Duplicate] {
        assert_says(
            &complaint(Kind::Echo, fault, &["--size", "0"]),
            &["first offence"],
        );
    }
}

#[test]
fn a_lost_answer_is_noticed_with_one_message_in_flight() {
    let addr = start(Kind::Echo, Fault::Drop, Manner::default());
    let output = loadtest(addr, &["echo", "--connections", "20"]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(&stderr(&output), &["1 lost", "expected message 5, got"]);
}

#[test]
fn every_wrong_delivery_of_a_broadcast_is_noticed() {
    let workers: [&[&str]; 2] = [&["--senders", "3"], &["--senders", "3", "--workers", "2"]];
    for (fault, counts) in [
        (Fault::Flip(0), "corrupt"),
        (Fault::Flip(4), "corrupt"),
        (Fault::Flip(12), "corrupt"),
        (Fault::Flip(63), "corrupt"),
        (Fault::Lengthen, "corrupt"),
        (Fault::Retype, "corrupt"),
        (Fault::Drop, "1 lost"),
        (Fault::Duplicate, "1 duplicated"),
    ] {
        for args in workers {
            let complaint = complaint(Kind::Broadcast, fault, args);
            assert_says(&complaint, &["first offence", "of sender", counts]);
            assert!(
                !complaint.contains(" 0 corrupt") || !counts.contains("corrupt"),
                "{complaint}"
            );
        }
    }
    // Of one sender only: the order among several is the server's choice.
    let complaint = complaint(Kind::Broadcast, Fault::Swap, &[]);
    assert_says(
        &complaint,
        &["1 reordered", "0 lost", "expected message 5 of sender 0"],
    );
}

#[test]
fn connections_that_fail_or_drop_are_noticed() {
    for (fault, part) in [
        (Fault::WrongAccept, "Sec-WebSocket-Accept"),
        (Fault::NotFound, "answered 404 Not Found"),
        (Fault::Mute, "no answer to the handshake in time"),
        (Fault::Close, "closed with code 4321"),
        (Fault::HangUp, "connection"),
        (Fault::Fragment, "fragmented"),
    ] {
        for kind in [Kind::Echo, Kind::Broadcast] {
            let complaint = complaint(kind, fault, &[]);
            assert_says(&complaint, &["of 20 connections", part]);
        }
    }
}

#[test]
fn nobody_listening_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let output = loadtest(addr, &["idle", "--connections", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert_says(
        &stderr(&output),
        &["no connection could be opened", "refused"],
    );
}

#[test]
fn unusable_settings_exit_with_two() {
    let addr = "127.0.0.1:1".parse().unwrap();
    for (args, part) in [
        (
            ["broadcast", "--size", "19"],
            "size: a broadcast message needs at least 20 bytes",
        ),
        (["echo", "--depth", "0"], "depth: must be at least 1"),
        (["echo", "--rate", "0"], "rate: must be above 0"),
        (
            ["idle", "--connections", "0"],
            "connections: must be at least 1",
        ),
        (["idle", "--cpu", "4000"], "cpu: core 4000"),
    ] {
        let output = loadtest(addr, &args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_says(&stderr(&output), &[part]);
    }
}

#[test]
fn several_workers_share_a_run() {
    let pid = std::process::id().to_string();
    for (kind, scenario) in [(Kind::Echo, "echo"), (Kind::Broadcast, "broadcast")] {
        let addr = start(kind, Fault::None, Manner::default());
        let file = std::env::temp_dir().join(format!("loadtest-{pid}-{scenario}.json"));
        let path = file.to_str().unwrap();
        let args = [
            "--connections",
            "51",
            "--workers",
            "2",
            "--server-pid",
            &pid,
            "--json",
            path,
        ];
        let output = loadtest(addr, &[&[scenario], args.as_slice()].concat());
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), "")
        );
        let report: throng_loadtest::Report =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((report.connections.opened, report.client.workers), (51, 2));
        let copies = if kind == Kind::Broadcast { 51 } else { 1 };
        assert_eq!(report.messages.received, report.messages.sent * copies);
        assert!(report.latency.samples > 0 && report.messages.received_in_window > 0);
        let server = report.server.unwrap();
        assert!(server.cpu_us_per_message > Some(0.0) && server.memory_open.rss_bytes > 0);
    }
}
