//! Rooms that are created, described and deleted, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throng::{CreateRoomError, MembersError, MetadataError, PublishError, RoomOptions};
use throng_tests::engine::hall::{Guest, Hall};
use throng_tests::engine::{config, until};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Topic {
    title: String,
    rank: u32,
}

fn topic(rank: u32) -> Topic {
    Topic {
        title: "Green and black".to_owned(),
        rank,
    }
}

/// What a guest is told of a deletion, whenever that was.
fn is_deletion(text: &str, room: &str) -> bool {
    let begin = format!(
        r#"{{"type":"notify","event":"room.deleted","data":{{"room":"{room}"}},"timestamp":"#
    );
    text.strip_prefix(&begin)
        .is_some_and(|rest| rest.strip_suffix('}').unwrap().parse::<u64>().unwrap() > 1_700_000_000)
}

#[test]
fn a_room_is_described() {
    let hall = Hall::open(config().shards(2).max_room_members(9));
    let engine = &hall.engine;
    assert_eq!(engine.room("tea"), None);
    let options = RoomOptions::new().metadata(&topic(1)).unwrap();
    engine.create_room("tea", options.max_members(2)).unwrap();
    let mut guests = hall.enter_each(2);
    guests.iter_mut().for_each(|guest| guest.join("tea"));
    assert_eq!(
        hall.enter().ask("join tea"),
        "Err(RoomFull { max: 2 })",
        "the limit of its own, which is the lower one"
    );
    let room = engine.room("tea").unwrap();
    assert_eq!(
        (&*room.name, room.members, room.max_members),
        ("tea", 2, Some(2))
    );
    assert!(room.kept && !room.sequenced && !room.has_history && !room.has_presence);
    assert_eq!(room.metadata::<Topic>().unwrap(), Some(topic(1)));
    assert_eq!(room.metadata_json().unwrap()["rank"], 1);
    assert!(room.metadata::<u32>().is_err(), "it is something else");
    assert_eq!(guests[0].ask("info tea"), format!("{:?}", Some(&room)));
    assert_eq!(guests[0].ask("info ale"), "None");
    assert_eq!(engine.rooms(), [room]);
}

/// A room that was joined is described as well, until its last member leaves.
#[test]
fn metadata_is_replaced_as_a_whole() {
    let hall = Hall::open(config());
    let engine = &hall.engine;
    let nowhere = engine.set_room_metadata("tea", &1).unwrap_err();
    assert!(matches!(nowhere, MetadataError::NoSuchRoom), "{nowhere}");
    let mut ann = hall.enter();
    ann.join("tea");
    let known = || engine.room("tea").unwrap();
    assert_eq!(known().metadata::<Topic>().unwrap(), None);
    assert_eq!((known().kept, known().max_members), (false, None));
    engine.set_room_metadata("tea", &topic(2)).unwrap();
    let too_long = engine.set_room_metadata("tea", &"x".repeat(70_000));
    let told = "metadata: 70002 bytes of JSON, where 65536 are the most allowed";
    assert_eq!(too_long.unwrap_err().to_string(), told);
    let no_json = engine.set_room_metadata("tea", &BTreeMap::from([((1, 2), 3)]));
    assert!(
        matches!(no_json, Err(MetadataError::Json(_))),
        "{no_json:?}"
    );
    let no_json = RoomOptions::new().metadata(&BTreeMap::from([((1, 2), 3)]));
    assert!(
        matches!(no_json, Err(MetadataError::Json(_))),
        "{no_json:?}"
    );
    assert_eq!(known().metadata::<Topic>().unwrap(), Some(topic(2)));
    assert_eq!(ann.ask("leave tea"), "true");
    ann.join("tea");
    assert_eq!(known().metadata_json(), None, "another room");
}

#[test]
fn options_out_of_bounds_create_nothing() {
    let hall = Hall::open(config());
    let nobody = RoomOptions::new().max_members(0);
    let error = hall.engine.create_room("tea", nobody).unwrap_err();
    assert!(matches!(
        error,
        CreateRoomError::Invalid {
            option: "max_members",
            ..
        }
    ));
    let told = "max_members must be from 1 to 4,294,967,295";
    assert_eq!(error.to_string(), told);
    assert_eq!(hall.engine.room_count(), 0);
}

#[test]
fn the_rooms_of_a_connection_are_told() {
    let hall = Hall::open(config().shards(2));
    let mut guests = hall.enter_each(2);
    guests[0].join("tea");
    guests[1].join("tea");
    guests[1].join("ale");
    let rooms = |guest: &Guest| {
        let mut rooms: Vec<String> = hall
            .engine
            .rooms_of(guest.id)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        rooms.sort();
        rooms
    };
    assert_eq!(rooms(&guests[0]), ["tea"]);
    assert_eq!(rooms(&guests[1]), ["ale", "tea"]);
    let gone = guests.remove(0);
    let id = gone.id;
    drop(gone);
    until("it is gone", || hall.engine.connections() == 1);
    assert_eq!(hall.engine.rooms_of(id), Ok(Vec::new()));
    let handle = hall.engine.handle().clone();
    hall.engine.shutdown();
    until("it has stopped", || {
        handle.rooms_of(guests[0].id) == Err(MembersError::Stopped)
    });
}

/// Members on all shards hear what was published before, are told, and leave.
#[test]
fn members_of_a_deleted_room_are_told_and_leave() {
    for shards in [1, 3] {
        for options in [RoomOptions::new(), RoomOptions::new().sequenced()] {
            let hall = Hall::open(config().shards(shards));
            let engine = &hall.engine;
            engine.create_room("tea", options).unwrap();
            let mut guests = hall.enter_each(shards);
            guests.extend(hall.enter_each(shards));
            for guest in &mut guests {
                guest.join("tea");
                guest.join("ale");
            }
            engine.to("tea").text("the last").publish().unwrap();
            assert!(engine.delete_room("tea") && !engine.delete_room("tea"));
            assert!(engine.room("tea").is_none() && engine.room_count() == 1);
            for guest in &mut guests {
                assert_eq!(guest.hear(), "the last");
                let told = guest.hear();
                assert!(is_deletion(&told, "tea"), "{told}");
                assert_eq!(guest.ask("rooms"), "ale");
                assert_eq!(guest.ask("leave tea"), "false");
                assert!(guest.heard.is_empty(), "{:?}", guest.heard);
            }
            guests[0].join("tea");
            assert_eq!(
                (engine.room_len("tea"), engine.room_len("ale")),
                (1, 2 * shards)
            );
        }
    }
}

/// The same from a handler, whether it has members on its shard or not.
#[test]
fn a_handler_deletes_a_room() {
    let hall = Hall::open(config().shards(2));
    for options in [RoomOptions::new(), RoomOptions::new().sequenced()] {
        hall.engine.create_room("tea", options).unwrap();
        let mut guests = hall.enter_each(2);
        for by in 0..2 {
            guests[1].join("tea");
            assert_eq!(guests[by].ask("last_words tea bye"), "true");
            let mut heard = std::mem::take(&mut guests[1].heard);
            while heard.len() < 2 {
                heard.push(guests[1].hear());
            }
            assert_eq!(heard[0], "bye");
            assert!(is_deletion(&heard[1], "tea"), "{heard:?}");
            assert_eq!(guests[by].ask("delete tea"), "false");
        }
    }
}

/// What the service makes of a deletion is told; what it does not make, or panics at, is not.
#[test]
fn the_service_says_how_a_deletion_is_told() {
    let hall = Hall::open(config());
    let mut ann = hall.enter();
    for (room, told) in [("quiet", None), ("panics", None), ("own", Some("no more"))] {
        ann.join(room);
        assert!(hall.engine.delete_room(room));
        until("it has left", || {
            hall.engine.rooms_of(ann.id) == Ok(Vec::new())
        });
        assert_eq!(ann.all_heard(), Vec::from_iter(told));
    }
}

/// A room of the same name that is made before a shard has heard of the deletion is another one.
#[test]
fn the_next_room_of_a_name_is_not_harmed() {
    for is_sequenced in [false, true] {
        let hall = Hall::open(config().shards(2));
        let engine = &hall.engine;
        let options = || match is_sequenced {
            true => RoomOptions::new().sequenced(),
            false => RoomOptions::new(),
        };
        engine.create_room("tea", options()).unwrap();
        let [mut old, mut new] = <[Guest; 2]>::try_from(hall.enter_each(2)).unwrap();
        old.join("tea");
        hall.hold(&mut old);
        // While its shard waits it cannot have left, and finds no other room of that name.
        old.client.text("say tea for the new");
        old.client.text("join tea");
        assert!(engine.delete_room("tea"));
        engine.create_room("tea", options()).unwrap();
        let is_refused = |guest: &mut Guest| guest.ask("join tea") == "Err(BeingDeleted)";
        if is_sequenced {
            // Its home may be the shard that waits, and deletes it for both.
            while is_refused(&mut new) {}
        } else {
            new.join("tea");
        }
        assert!(engine.to("tea").text("to the new").publish().is_ok());
        hall.go_on();
        assert!(old.answer().contains("refused: 0"), "it is published");
        let mut joined = old.answer();
        while joined == "Err(BeingDeleted)" {
            joined = old.ask("join tea");
        }
        assert_eq!(joined, "Ok(())");
        let deletions = old.heard.iter().filter(|text| is_deletion(text, "tea"));
        assert_eq!(deletions.count(), 1, "{:?}", old.heard);
        until("both are for the new", || {
            new.ask("rooms");
            new.heard.len() == 2
        });
        new.heard.sort();
        assert_eq!(new.heard, ["for the new", "to the new"]);
        assert_eq!(engine.room_len("tea"), 2);
        assert!(engine.delete_room("tea"));
        until("both have left", || {
            let is_out = |guest: &Guest| engine.rooms_of(guest.id) == Ok(Vec::new());
            is_out(&old) && is_out(&new)
        });
        assert_eq!(engine.room_count(), 0);
    }
}

/// What comes to the home of a sequenced room behind its deletion is refused.
#[test]
fn a_deleted_room_numbers_nothing() {
    let hall = Hall::open(config().shards(2));
    let options = RoomOptions::new().sequenced();
    hall.engine.create_room("tea", options).unwrap();
    let mut guests = hall.enter_each(2);
    guests.iter_mut().for_each(|guest| guest.join("tea"));
    assert!(hall.engine.delete_room("tea"));
    let numbered = hall.engine.to("tea").numbered(|at| at.offset.to_string());
    assert_eq!(numbered.publish(), Err(PublishError::NotSequenced));
    hall.engine.to("tea").text("nobody").publish().unwrap();
    for guest in &mut guests {
        let told = guest.hear();
        assert!(is_deletion(&told, "tea"), "{told}");
        assert!(guest.all_heard().is_empty());
    }
}

/// Joining, publishing and deleting at once, over and over: nobody stays in a room that is gone, and
/// nothing of an old room comes to the new one's members.
#[test]
fn deleting_while_others_join_leaves_nobody_behind() {
    const ROUNDS: usize = 60;
    let hall = Hall::open(config().shards(3));
    let engine = &hall.engine;
    let mut guests = hall.enter_each(3);
    for round in 0..ROUNDS {
        let options = match round % 2 {
            0 => RoomOptions::new(),
            _ => RoomOptions::new().sequenced(),
        };
        engine.create_room("tea", options).unwrap();
        for guest in &mut guests {
            guest.client.text("join tea");
            guest.client.text(&format!("say tea {round}"));
        }
        assert!(engine.delete_room("tea"));
        for guest in &mut guests {
            let joined = guest.answer();
            assert!(
                joined == "Ok(())" || joined == "Err(BeingDeleted)",
                "{joined}"
            );
            guest.answer();
        }
        // Those who came later are in another room of the name.
        until("all have left", || {
            for guest in &mut guests {
                guest.ask("leave tea");
            }
            engine.room_count() == 0
                && guests
                    .iter()
                    .all(|guest| engine.rooms_of(guest.id) == Ok(Vec::new()))
        });
        for guest in &mut guests {
            for text in guest.all_heard() {
                let is_of_round = text == round.to_string() || is_deletion(&text, "tea");
                assert!(is_of_round, "{text} in round {round}");
            }
        }
    }
}
