//! Ten thousand connections in one room.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::process::{Command, Stdio};

use throng_tests::engine::{Client, Heard, config, serve, until};

const MEMBERS: usize = 10_000;
const SENDERS: usize = 5;
const MESSAGES: usize = 6;
/// Says to a run of this program that it is the members.
const ADDRESS: &str = "THRONG_TEST_ADDRESS_OF_MEMBERS";

/// Both ends of as many connections are more than a process may open: the members live in a
/// process of their own, which is this program run again.
#[test]
fn every_member_gets_every_message_of_every_sender_once_and_in_order() {
    if std::env::var_os(ADDRESS).is_some() {
        return;
    }
    raise_open_files();
    let served = serve(config().shards(2).max_connections(MEMBERS + 64));
    let program = std::env::current_exe().unwrap();
    let mut members = Command::new(program)
        .args(["the_members", "--exact", "--nocapture"])
        .env(ADDRESS, served.address().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let engine = &served.engine;
    let patience = std::time::Instant::now();
    while engine.room_len("all") < MEMBERS {
        assert!(
            members.try_wait().unwrap().is_none(),
            "the members have ended"
        );
        assert!(
            patience.elapsed().as_secs() < 120,
            "{} members",
            engine.room_len("all")
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!((engine.connections(), engine.room_count()), (MEMBERS, 1));
    let mut senders: Vec<Client> = (0..SENDERS).map(|_| served.connect()).collect();
    for number in 0..MESSAGES {
        for (sender, client) in senders.iter_mut().enumerate() {
            client.text(&format!("!to all {sender} {number}"));
        }
    }
    for sender in &mut senders {
        assert_eq!(sender.ask("all is published"), "all is published");
    }
    assert!(
        members.wait().unwrap().success(),
        "a member missed something"
    );
    until("everybody has left", || engine.room_count() == 0);
}

#[test]
fn the_members() {
    let Ok(address) = std::env::var(ADDRESS) else {
        return;
    };
    raise_open_files();
    let address = address.parse().unwrap();
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| Client::connect(address)).collect();
    for member in &mut members {
        member.text("!join all");
    }
    for member in &mut members {
        assert_eq!(member.hear(), Heard::Text("Ok(())".into()));
    }
    for (index, member) in members.iter_mut().enumerate() {
        let mut next = [0; SENDERS];
        for _ in 0..SENDERS * MESSAGES {
            let Heard::Text(text) = member.hear() else {
                panic!("member {index} heard no text")
            };
            let (sender, number) = text.split_once(' ').unwrap();
            let next = &mut next[sender.parse::<usize>().unwrap()];
            assert_eq!(number.parse(), Ok(*next), "member {index}, from {sender}");
            *next += 1;
        }
        assert!(
            next.iter().all(|next| *next == MESSAGES),
            "member {index}: {next:?}"
        );
    }
    // Nothing comes twice: what follows is the answer to a question.
    for member in &mut members {
        assert_eq!(member.ask("!leave all"), "true");
    }
}

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let (allowed, needed) = (limit.maximum.unwrap_or(u64::MAX), MEMBERS as u64 + 100);
    assert!(
        allowed >= needed,
        "this test opens {MEMBERS} connections: raise the hard limit on open files to {needed}, \
         as with `ulimit -Hn {needed}` by root in the shell that runs it; it is {allowed}"
    );
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
