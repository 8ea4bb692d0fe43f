//! That the program notices everything a wrong server does.

mod program_run;
mod server;

use std::time::{Duration, Instant};

use program_run::{assert_says, loadtest, stderr};
use server::{FAULTY_MESSAGE, Fault, Kind, Manner, start};

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
        (Fault::Unavailable, "answered 503 Service Unavailable"),
        (Fault::Mute, "no answer to the handshake in time"),
        (Fault::Close, "closed with code 4321"),
        (Fault::HangUp, "connection "),
        (Fault::Mask, "the server masked a frame"),
        (Fault::Reserve, "a reserved bit is set"),
        (Fault::Fragment, "fragmented"),
    ] {
        for kind in [Kind::Echo, Kind::Broadcast] {
            let complaint = complaint(kind, fault, &[]);
            assert_says(&complaint, &["of 20 connections", part]);
        }
    }
}

#[test]
fn connections_that_do_not_close_in_order_are_noticed() {
    for (fault, part) in [
        (Fault::GarbageAtClose, "protocol error: a reserved bit"),
        (Fault::HalfACodeAtClose, "a close frame with half a code"),
        (Fault::MuteAtClose, "no answer to the closing handshake"),
        (Fault::HangUpAtClose, "the server hung up"),
        (Fault::ResetAtClose, "Connection reset"),
    ] {
        for (kind, scenario) in [(Kind::Echo, "echo"), (Kind::Broadcast, "broadcast")] {
            if (kind, fault) == (Kind::Broadcast, Fault::ResetAtClose) {
                continue;
            }
            let addr = start(kind, fault, Manner::default());
            // Only who never answers is waited for in vain.
            let patience = match fault {
                Fault::MuteAtClose => "0.5",
                _ => "30",
            };
            let args = [scenario, "--connections", "20", "--patience", patience];
            let output = loadtest(addr, &args);
            assert_eq!(output.status.code(), Some(1), "{fault:?} was not noticed");
            let counts = "0 were dropped and 1 were not closed as they should be";
            assert_says(&stderr(&output), &[counts, ": closing: ", part]);
            let table = String::from_utf8_lossy(&output.stdout);
            assert_says(&table, &["0 dropped, 1 unclosed"]);
        }
    }
}

#[test]
fn a_server_that_lets_nobody_in_is_said() {
    let manner = Manner {
        everywhere: true,
        ..Manner::default()
    };
    for (fault, part) in [
        (Fault::Unavailable, "answered 503 Service Unavailable"),
        (Fault::Mute, "no answer to the handshake in time"),
    ] {
        let addr = start(Kind::Echo, fault, manner);
        let output = loadtest(addr, &["idle", "--connections", "5"]);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("no connection to {addr} could be opened");
        assert_says(&stderr(&output), &[&expected, part]);
    }
}

#[test]
fn a_server_that_ends_ends_the_run() {
    let manner = Manner {
        everywhere: true,
        ..Manner::default()
    };
    let addr = start(Kind::Echo, Fault::HangUp, manner);
    let began = Instant::now();
    let output = loadtest(addr, &["echo", "--connections", "5", "--warmup", "60"]);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(output.status.code(), Some(1));
    assert_says(&stderr(&output), &["5 were dropped"]);
}
