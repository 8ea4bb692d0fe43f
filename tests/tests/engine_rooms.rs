//! Rooms and publishing, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and its numbers are small"
)]

use std::collections::HashSet;

use throng::{CloseCode, ConnectionId, Engine, JoinError, MembersError};
use throng_tests::engine::{Client, Happening, Heard, Served, config, serve};

fn member(served: &Served, rooms: &[&str]) -> Client {
    let mut client = served.connect();
    for room in rooms {
        assert_eq!(client.ask(&format!("!join {room}")), "Ok(())");
    }
    client
}

/// What the client hears next is this, and then nothing but the answer to a question.
fn expect(client: &mut Client, texts: &[&str]) {
    for text in texts {
        assert_eq!(client.hear(), Heard::Text((*text).to_owned()));
    }
    assert_eq!(client.ask("anything else?"), "anything else?");
}

fn published(served: &Served) -> throng::Receipt {
    loop {
        if let Happening::Published(receipt) = served.next() {
            return receipt;
        }
    }
}

#[test]
fn a_room_is_there_while_somebody_is_in_it() {
    let served = serve(config());
    assert_eq!(
        (served.engine.room_count(), served.engine.room_len("tea")),
        (0, 0)
    );
    let mut ann = member(&served, &["tea"]);
    assert_eq!(
        ann.ask("!join tea"),
        "Ok(())",
        "joining twice changes nothing"
    );
    assert_eq!(ann.ask("!len tea"), "1");
    let mut bob = member(&served, &["tea", "ale"]);
    assert_eq!(bob.ask("!rooms"), "tea,ale");
    let mut rooms: Vec<_> = served
        .engine
        .rooms()
        .into_iter()
        .map(|room| (room.name.to_string(), room.members))
        .collect();
    rooms.sort();
    assert_eq!(rooms, [("ale".to_owned(), 1), ("tea".to_owned(), 2)]);
    assert_eq!(ann.ask("!leave ale"), "false");
    assert_eq!(ann.ask("!leave tea"), "true");
    assert_eq!(bob.ask("!leave_all"), "left");
    assert_eq!(bob.ask("!rooms"), "");
    assert_eq!(served.engine.room_count(), 0);
    let carl = member(&served, &["tea"]);
    drop(carl);
    served.until("the room is gone", |engine| engine.room_count() == 0);
}

#[test]
fn limits_are_errors_that_name_them() {
    let limits = config()
        .max_rooms(2)
        .max_room_members(2)
        .max_rooms_per_connection(2);
    let served = serve(limits);
    let mut ann = member(&served, &["a", "b"]);
    assert_eq!(
        ann.ask("!join c"),
        "Err(TooManyRoomsOfConnection { max: 2 })"
    );
    assert_eq!(ann.ask("!join a"), "Ok(())", "a member already");
    let mut bob = member(&served, &["a"]);
    assert_eq!(bob.ask("!join c"), "Err(TooManyRooms { max: 2 })");
    let mut carl = served.connect();
    assert_eq!(carl.ask("!join a"), "Err(RoomFull { max: 2 })");
    assert_eq!(carl.ask("!rooms"), "");
    assert_eq!(ann.ask("!leave a"), "true");
    assert_eq!(carl.ask("!join a"), "Ok(())");
    assert_eq!(served.engine.room_len("a"), 2);
}

#[test]
fn who_is_closed_joins_nothing() {
    let (joined, outcome) = std::sync::mpsc::channel();
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let engine = builder
        .config(config())
        .on_message(move |conn, _| {
            conn.close(CloseCode::NORMAL, "");
            let _ = joined.send((conn.join("tea"), conn.is_closed()));
        })
        .start()
        .unwrap();
    let mut client = Client::connect(engine.local_addr().unwrap());
    client.text("go");
    client.expect_close(1000);
    assert_eq!(outcome.recv().unwrap(), (Err(JoinError::NotOpen), true));
    assert_eq!(engine.room_count(), 0);
}

/// A bound on a room holds for all shards together, however many join at once.
#[test]
fn limits_hold_across_shards() {
    const SHARDS: usize = 4;
    const MAX: usize = 10;
    let served = serve(config().shards(SHARDS).max_room_members(MAX).max_rooms(1));
    let mut clients: Vec<Client> = (0..60).map(|_| served.connect()).collect();
    for round in 0..20 {
        let room = format!("room-{round}");
        for client in &mut clients {
            client.text(&format!("!join {room}"));
        }
        let joined = clients.iter_mut().map(Client::hear);
        let joined = joined.filter(|heard| *heard == Heard::Text("Ok(())".into()));
        assert_eq!(joined.count(), MAX, "{room}");
        assert_eq!(served.engine.room_len(&room), MAX);
        assert_eq!(served.engine.members(&room).unwrap().len(), MAX);
        for client in &mut clients {
            client.text("!leave_all");
        }
        for client in &mut clients {
            assert_eq!(client.hear(), Heard::Text("left".into()));
        }
        assert_eq!(served.engine.room_count(), 0);
    }
}

#[test]
fn members_are_listed_but_not_on_a_shard() {
    let served = serve(config().shards(3));
    let mut clients: Vec<Client> = (0..20).map(|_| member(&served, &["tea"])).collect();
    let ids: HashSet<ConnectionId> = clients
        .iter_mut()
        .map(|client| ConnectionId::from_u64(client.ask("!id").parse().unwrap()))
        .collect();
    let members = served.engine.members("tea").unwrap();
    assert_eq!(members.len(), 20);
    assert_eq!(members.into_iter().collect::<HashSet<_>>(), ids);
    assert_eq!(served.engine.members("nowhere"), Ok(Vec::new()));
    let refused: Result<Vec<ConnectionId>, _> = Err(MembersError::OnShard);
    assert_eq!(clients[0].ask("!members tea"), format!("{refused:?}"));
}

#[test]
fn handlers_publish_to_whom_they_mean() {
    for shards in [1, 2, 4] {
        let served = serve(config().shards(shards));
        let mut ann = member(&served, &["tea"]);
        let mut bob = member(&served, &["tea", "ale"]);
        let mut carl = member(&served, &["ale"]);
        let mut dora = served.connect();
        let bobs = bob.ask("!id");
        ann.text("!to tea 1");
        expect(&mut ann, &["1"]);
        ann.text("!others tea 2");
        ann.text("!union tea ale 3");
        expect(&mut ann, &["3"]);
        ann.text("!minus tea ale 4");
        expect(&mut ann, &["4"]);
        ann.text("!all 5");
        expect(&mut ann, &["5"]);
        ann.text(&format!("!one {bobs} 6"));
        ann.text("!to nowhere 7");
        ann.text(&format!("!one {} 8", u64::MAX));
        expect(&mut ann, &[]);
        // What came from another shard is there once the shard has answered a question put to
        // it later by way of the same mailbox.
        served.engine.members("tea").unwrap();
        served.engine.members("ale").unwrap();
        expect(&mut bob, &["1", "2", "3", "5", "6"]);
        expect(&mut carl, &["3", "5"]);
        expect(&mut dora, &["5"]);
        ann.text("!high tea 9");
        expect(&mut ann, &["9"]);
        served.engine.members("tea").unwrap();
        expect(&mut bob, &["9"]);
    }
}

#[test]
fn other_threads_publish_to_whom_they_mean() {
    for shards in [1, 3] {
        let served = serve(config().shards(shards));
        let mut ann = member(&served, &["tea"]);
        let mut bob = member(&served, &["tea", "ale"]);
        let mut carl = member(&served, &["ale"]);
        let id = |client: &mut Client| ConnectionId::from_u64(client.ask("!id").parse().unwrap());
        let (anns, bobs) = (id(&mut ann), id(&mut bob));
        let engine = &served.engine;
        engine.to("tea").text("1").publish().unwrap();
        engine.to("tea").and_to("ale").text("2").publish().unwrap();
        engine.to("tea").except(anns).text("3").publish().unwrap();
        engine
            .to("ale")
            .except_room("tea")
            .text("4")
            .publish()
            .unwrap();
        engine.to_all().except(bobs).text("5").publish().unwrap();
        engine.to("nowhere").text("6").publish().unwrap();
        engine.to("tea").json(&[7]).unwrap().publish().unwrap();
        engine.connection(bobs).send("8").unwrap();
        expect(&mut ann, &["1", "2", "5", "[7]"]);
        expect(&mut bob, &["1", "2", "3", "[7]", "8"]);
        expect(&mut carl, &["2", "4", "5"]);
        engine
            .to_all()
            .except_room("ale")
            .high()
            .text("9")
            .publish()
            .unwrap();
        expect(&mut ann, &["9"]);
    }
}

#[test]
fn receipts_count_who_was_reached() {
    let served = serve(config());
    let mut ann = member(&served, &["tea"]);
    let _bob = member(&served, &["tea"]);
    let carl = member(&served, &["tea"]);
    ann.text("!to tea 1");
    assert_eq!(published(&served).queued, 3);
    ann.text("!others tea 2");
    assert_eq!(published(&served).queued, 2);
    ann.text("!to nowhere 3");
    assert_eq!(published(&served).queued, 0);
    drop(carl);
    served.until("Carl is gone", |engine| engine.room_len("tea") == 2);
    let gone = published(&served);
    assert_eq!(
        gone.queued, 2,
        "who is closing is no member for a publication of on_close"
    );
    ann.text("!to tea 4");
    assert_eq!(published(&served).queued, 2);
    let apart = serve(config().shards(4));
    let members: Vec<Client> = (0..32).map(|_| member(&apart, &["tea"])).collect();
    let mut ann = apart.connect();
    ann.text("!to tea 1");
    let receipt = published(&apart);
    assert!(
        receipt.queued < members.len() && receipt.refused == 0,
        "{receipt:?}"
    );
    assert!(
        (1..4).contains(&receipt.forwarded) || receipt.queued == 0,
        "{receipt:?}"
    );
}

/// Publications, replies, joins and leaves of one turn keep their order for everybody.
#[test]
fn order_is_kept_whatever_is_mixed() {
    let served = serve(config());
    let mut ann = member(&served, &["tea"]);
    let mut bob = member(&served, &["tea"]);
    let mut commands = Vec::new();
    for text in [
        "!to tea 1",
        "2",
        "!to tea 3",
        "!to tea 4",
        "!join ale",
        "!to ale 5",
        "!to tea 6",
        "!leave tea",
        "!to tea 7",
        "!join tea",
        "!to tea 8",
        "!others tea 9",
        "!all 10",
    ] {
        commands.extend(throng_tests::engine::frame(
            true,
            throng::protocol::frame::OpCode::Text,
            text.as_bytes(),
        ));
    }
    ann.write(&commands);
    expect(
        &mut ann,
        &[
            "1", "2", "3", "4", "Ok(())", "5", "6", "true", "Ok(())", "8", "10",
        ],
    );
    expect(&mut bob, &["1", "3", "4", "6", "7", "8", "9", "10"]);
}

/// Many threads and many shards: every member gets every message of every sender once, and those
/// of one sender in their order.
#[test]
fn every_member_gets_every_message_of_every_sender_in_order() {
    const MEMBERS: usize = 40;
    const SENDERS: usize = 4;
    const MESSAGES: usize = 250;
    let served = serve(config().shards(4));
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| member(&served, &["tea"])).collect();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let engine = served.engine.handle();
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    let text = format!("{sender} {number}");
                    engine.to("tea").text(&text).publish().unwrap();
                }
            })
        })
        .collect();
    for member in &mut members {
        let mut next = [0; SENDERS];
        for _ in 0..SENDERS * MESSAGES {
            let Heard::Text(text) = member.hear() else {
                panic!("no text")
            };
            let (sender, number) = text.split_once(' ').unwrap();
            let next = &mut next[sender.parse::<usize>().unwrap()];
            assert_eq!(number.parse(), Ok(*next), "from {sender}");
            *next += 1;
        }
        expect(member, &[]);
    }
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
}
