//! How connections end: each cause once, and everything that goes with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::time::{Duration, Instant};

use throng::protocol::frame::OpCode;
use throng::{Cause, CloseCode, Config, ConnectionId, Receipt};
use throng_tests::engine::{
    Client, Happening, Heard, PATIENCE, Served, config, frame, request, serve, until,
};

/// A served client that has been heard of.
fn open(config: Config) -> (Served, Client) {
    let served = serve(config);
    let mut client = served.connect();
    assert_eq!(client.ask("hello"), "hello");
    assert!(matches!(served.next(), Happening::Opened(_)));
    (served, client)
}

/// Expects that the connection closes for this cause, and that this is all that happens.
fn expect_cause(served: &Served, cause: &Cause) {
    assert_eq!(served.next_cause(), *cause);
    assert_eq!(served.next(), Happening::Forgotten);
    served.until("the end", |engine| engine.connections() == 0);
    let rest = served.rest();
    assert!(
        rest.iter().all(|h| matches!(h, Happening::Published(_))),
        "{rest:?}"
    );
}

#[test]
fn the_peer_closes_with_a_code_and_a_reason() {
    for (code, reason) in [
        (1000, "bye"),
        (1001, ""),
        (3000, "ü"),
        (4999, &*"x".repeat(123)),
    ] {
        let (served, mut client) = open(config());
        client.close(code, reason);
        assert_eq!(client.hear(), Heard::Close(Some(code), String::new()));
        assert_eq!(client.hear(), Heard::End);
        let code = Some(CloseCode::from(code));
        expect_cause(
            &served,
            &Cause::PeerClosed {
                code,
                reason: reason.to_owned(),
            },
        );
    }
}

#[test]
fn the_peer_closes_without_a_code() {
    let (served, mut client) = open(config());
    client.frame(true, OpCode::Close, b"");
    assert_eq!(client.hear(), Heard::Close(None, String::new()));
    assert_eq!(client.hear(), Heard::End);
    expect_cause(
        &served,
        &Cause::PeerClosed {
            code: None,
            reason: String::new(),
        },
    );
}

#[test]
fn the_peer_vanishes() {
    let (served, client) = open(config());
    drop(client);
    expect_cause(&served, &Cause::PeerVanished);
    let (served, client) = open(config());
    client.reset();
    expect_cause(&served, &Cause::PeerVanished);
    let (served, mut client) = open(config());
    client.write(&frame(true, OpCode::Text, b"not whole")[..4]);
    client.finish();
    assert_eq!(client.hear(), Heard::End);
    expect_cause(&served, &Cause::PeerVanished);
}

#[test]
fn a_heartbeat_is_missed() {
    let beat = Duration::from_millis(50);
    let (served, mut client) = open(config().ping_interval(beat).pong_timeout(beat));
    assert!(matches!(client.hear(), Heard::Ping(_)));
    // The answer does not come.
    expect_cause(&served, &Cause::HeartbeatMissed);
    assert!(matches!(client.hear(), Heard::End | Heard::Reset));
}

#[test]
fn the_protocol_is_broken() {
    let (served, mut client) = open(config());
    client.write(&[0xff; 16]);
    client.expect_close(1002);
    expect_cause(&served, &Cause::ProtocolFault);
}

#[test]
fn a_message_is_too_big() {
    let (served, mut client) = open(config().max_message_size(100));
    client.binary(&[0; 101]);
    client.expect_close(1009);
    expect_cause(&served, &Cause::TooBig);
}

#[test]
fn nothing_is_said_for_too_long() {
    let idle = Duration::from_millis(200);
    let (served, mut client) = open(config().idle_timeout(idle));
    client.expect_close(1008);
    let close = served.next_close().1;
    assert_eq!(close.cause, Cause::Policy);
    assert!(close.duration >= idle, "{:?}", close.duration);
}

#[test]
fn the_peer_says_what_the_service_does_not_understand() {
    let (served, mut client) = open(config().invalid_messages_per_minute(3));
    let texts = [
        "!invalid", "!invalid", "valid", "!invalid", "!invalid", "after",
    ];
    client.write(
        &texts
            .map(|text| frame(true, OpCode::Text, text.as_bytes()))
            .concat(),
    );
    let answers = [
        "not understood",
        "not understood",
        "valid",
        "not understood",
    ];
    for answer in answers {
        assert_eq!(client.hear(), Heard::Text(answer.into()));
    }
    assert_eq!(client.expect_close(1008), "too many invalid messages");
    expect_cause(&served, &Cause::Policy);
}

/// Says so often what the service does not understand, and hears that of each.
fn say_invalid(client: &mut Client, times: usize) {
    for _ in 0..times {
        assert_eq!(client.ask("!invalid"), "not understood");
    }
}

#[test]
fn what_is_invalid_is_counted_for_each_connection() {
    let (served, mut first) = open(config().invalid_messages_per_minute(3));
    let mut second = served.connect();
    say_invalid(&mut first, 3);
    say_invalid(&mut second, 3);
    assert_eq!(first.ask("and I?"), "and I?");
    first.text("!invalid");
    assert_eq!(first.expect_close(1008), "too many invalid messages");
    assert_eq!(second.ask("and I?"), "and I?");
}

#[test]
fn thirty_invalid_messages_are_allowed_by_default() {
    let (_served, mut client) = open(config());
    say_invalid(&mut client, 30);
    client.text("!invalid");
    assert_eq!(client.expect_close(1008), "too many invalid messages");
}

#[test]
fn nothing_is_too_invalid_where_no_limit_is_set() {
    let (_served, mut client) = open(config().invalid_messages_per_minute(None));
    for _ in 0..100 {
        client.text("!invalid");
        assert_eq!(client.hear(), Heard::Text("not understood".into()));
    }
}

#[test]
fn the_service_closes() {
    let (served, mut client) = open(config());
    let texts = ["before", "!close 4000 enough", "after"];
    client.write(
        &texts
            .map(|text| frame(true, OpCode::Text, text.as_bytes()))
            .concat(),
    );
    assert_eq!(client.hear(), Heard::Text("before".into()));
    assert_eq!(client.expect_close(4000), "enough");
    expect_cause(
        &served,
        &Cause::Kicked {
            code: CloseCode::from(4000),
        },
    );
}

#[test]
fn another_thread_closes() {
    let served = serve(config());
    let mut client = served.connect();
    let Happening::Opened(id) = served.next() else {
        panic!("not opened")
    };
    let handle = served.engine.connection(id);
    handle.send("before").unwrap();
    handle.close(CloseCode::NORMAL, "done").unwrap();
    assert_eq!(client.hear(), Heard::Text("before".into()));
    assert_eq!(client.expect_close(1000), "done");
    expect_cause(
        &served,
        &Cause::Kicked {
            code: CloseCode::NORMAL,
        },
    );
}

/// Slot and generation, as an id shows them for people.
fn slot_and_generation(id: ConnectionId) -> (u32, u32) {
    let shown = format!("{id:?}");
    let parts = shown.trim_end_matches(')').rsplit('/');
    let numbers: Vec<u32> = parts.take(2).map(|part| part.parse().unwrap()).collect();
    (numbers[1], numbers[0])
}

#[test]
fn a_stale_id_does_not_reach_who_has_its_slot() {
    let (served, mut client) = open(config());
    let id = |client: &mut Client| ConnectionId::from_u64(client.ask("!id").parse().unwrap());
    let stale = id(&mut client);
    drop(client);
    let (slot, generation) = slot_and_generation(stale);
    let mut next = served.connect();
    until("its slot is used again", || {
        let found = slot_and_generation(id(&mut next));
        assert_ne!(found, (slot, generation), "an id is given away once");
        if found.0 != slot {
            next = served.connect();
        }
        found.0 == slot
    });

    next.text(&format!("!one {} from a handler", stale.to_u64()));
    let receipt = loop {
        if let Happening::Published(receipt) = served.next() {
            break receipt;
        }
    };
    assert_eq!(receipt, Receipt::default());
    let handle = served.engine.connection(stale);
    handle.send("from a thread").unwrap();
    handle.close(CloseCode::NORMAL, "no more").unwrap();
    let all_but_it = served.engine.to_all().except(stale);
    all_but_it.text("for everybody").publish().unwrap();
    // Posted in this order: what was meant for the other would have come before.
    assert_eq!(next.hear(), Heard::Text("for everybody".into()));
    assert_eq!(next.ask("hello"), "hello");
}

#[test]
fn a_code_that_must_not_be_sent_is_not() {
    let (served, mut client) = open(config());
    client.text("!close 1006 never on the wire");
    assert_eq!(client.hear(), Heard::Close(None, String::new()));
    client.frame(true, OpCode::Close, b"");
    assert_eq!(client.hear(), Heard::End);
    expect_cause(
        &served,
        &Cause::Kicked {
            code: CloseCode::ABNORMAL,
        },
    );
}

#[test]
fn a_panic_costs_one_connection() {
    let served = serve(config());
    let mut bystander = served.connect();
    let mut client = served.connect();
    client.text("!panic");
    client.expect_close(1011);
    assert_eq!(served.next_cause(), Cause::HandlerPanicked);
    let mut client = served.connect();
    client.text("!panic_at_close");
    assert_eq!(client.ask("hello"), "hello");
    drop(client);
    assert_eq!(served.next_cause(), Cause::PeerVanished);
    assert_eq!(bystander.ask("still here?"), "still here?");
    served.until("the others' end", |engine| engine.connections() == 1);
}

#[test]
fn a_panic_at_the_opening_costs_one_connection() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&request("").replace("/path", "/panic-at-open"));
    client.expect_close(1011);
    assert!(matches!(served.next(), Happening::Opened(_)));
    expect_cause(&served, &Cause::HandlerPanicked);
    assert_eq!(served.connect().ask("hello"), "hello", "the shard lives");
}

#[test]
fn a_connection_may_be_closed_at_its_opening() {
    let served = serve(config());
    let mut client = Client::silent(served.address());
    client.upgrade(&request("").replace("/path", "/closed-at-open"));
    assert_eq!(client.expect_close(4000), "not today");
    let code = CloseCode::from(4000);
    expect_cause(&served, &Cause::Kicked { code });
}

#[test]
fn the_first_of_two_causes_counts() {
    let (served, mut client) = open(config());
    let commands = ["!close 4000 enough", "!close 4001 again", "!panic"];
    let frames = commands.map(|text| frame(true, OpCode::Text, text.as_bytes()));
    client.write(&[frames.concat(), vec![0xff; 16]].concat());
    assert_eq!(client.expect_close(4000), "enough");
    let code = CloseCode::from(4000);
    expect_cause(&served, &Cause::Kicked { code });
}

/// Whether or not the question and the end arrive at once.
#[test]
fn who_asks_and_ends_its_side_is_answered() {
    let served = serve(config());
    for round in 0..100 {
        let mut client = Client::connect(served.address());
        client.text("the last word");
        client.finish();
        let answer = Heard::Text("the last word".into());
        assert_eq!(client.hear(), answer, "in round {round}");
        assert_eq!(client.hear(), Heard::End);
        expect_cause(&served, &Cause::PeerVanished);
    }
}

/// A close goes behind what was sent, also to a peer that says nothing more itself.
#[test]
fn who_has_ended_its_side_still_gets_everything() {
    let served = serve(config().close_timeout(PATIENCE));
    let mut client = Client::connect_small(served.address());
    client.text("!flood 200 65536");
    client.text("!close 4000 that was all");
    client.finish();
    for number in 0..200u32 {
        let Heard::Binary(bytes) = client.hear() else {
            panic!("no message {number}")
        };
        assert_eq!(bytes[..4], number.to_be_bytes());
    }
    let farewell = Heard::Close(Some(4000), "that was all".into());
    assert_eq!(client.hear(), farewell);
    assert_eq!(client.hear(), Heard::End);
}

#[test]
fn dropping_the_engine_cuts() {
    let (served, mut client) = open(config());
    let handle = served.engine.handle();
    handle.shutdown();
    assert_eq!(client.hear(), Heard::Close(Some(1001), String::new()));
    assert!(matches!(client.hear(), Heard::End | Heard::Reset));
    assert_eq!(served.next_cause(), Cause::Drain);
    drop(served);
    assert_eq!(handle.connections(), 0);
}

#[test]
fn who_does_not_answer_our_close_is_cut() {
    let timeout = Duration::from_millis(200);
    let (served, mut client) = open(config().close_timeout(timeout));
    let begun = Instant::now();
    client.text("!close 1000 bye");
    assert_eq!(client.hear(), Heard::Close(Some(1000), "bye".into()));
    assert!(matches!(client.hear(), Heard::End | Heard::Reset));
    assert!(begun.elapsed() >= timeout);
    assert_eq!(
        served.next_cause(),
        Cause::Kicked {
            code: CloseCode::NORMAL
        }
    );
}

#[test]
fn who_talks_on_instead_of_answering_our_close_is_cut() {
    let (served, mut client) = open(config().close_timeout(Duration::from_millis(200)));
    client.text("!close 1000 bye");
    assert_eq!(client.hear(), Heard::Close(Some(1000), "bye".into()));
    let more = [
        frame(true, OpCode::Text, b"but"),
        frame(true, OpCode::Ping, b"there?"),
    ];
    until("the cut", || client.try_write(&more.concat()).is_err());
    let close = served.next_close().1;
    assert_eq!(close.counts.messages_in, 2, "what came late is not heard");
}

#[test]
fn a_peer_that_keeps_its_side_open_is_cut_too() {
    let (_served, mut client) = open(config().close_timeout(Duration::from_millis(200)));
    client.close(1000, "");
    assert_eq!(client.hear(), Heard::Close(Some(1000), String::new()));
    assert_eq!(client.hear(), Heard::End);
    // Our side stays open; soon nobody is there to take what we write.
    until("the reset", || client.try_write(&[0; 1024]).is_err());
}

#[test]
fn the_end_is_counted_and_told_to_the_rooms() {
    let (served, mut client) = open(config());
    let mut friend = served.connect();
    assert_eq!(friend.ask("!join tea"), "Ok(())");
    assert_eq!(client.ask("!join tea"), "Ok(())");
    assert_eq!(client.ask("!join ale"), "Ok(())");
    client.close(1000, "");
    let closed = loop {
        if let Happening::Closed { close, rooms, .. } = served.next() {
            assert_eq!(rooms, ["tea", "ale"]);
            break close;
        }
    };
    assert_eq!(closed.counts.messages_in, 3, "hello and two joins");
    assert_eq!(closed.counts.bytes_in, 5 + 9 + 9);
    assert_eq!(closed.counts.messages_out, 3);
    assert_eq!(closed.counts.bytes_out, 3 * 2 + 5 + 6 + 6);
    assert_eq!(closed.counts.dropped, 0);
    assert!(closed.duration < PATIENCE);
    assert_eq!(friend.hear(), Heard::Text("gone from tea".into()));
    served.until("nobody in ale", |engine| engine.room_len("ale") == 0);
    assert_eq!(served.engine.room_len("tea"), 1);
}
