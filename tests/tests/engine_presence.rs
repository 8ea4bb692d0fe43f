//! Who is in a room, and what its members are told of it, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::Value;
use throng::{RoomOptions, RoomPresence};
use throng_tests::engine::hall::{Guest, Hall};
use throng_tests::engine::{Heard, config, until};

fn open(shards: usize, options: RoomOptions) -> Hall {
    let hall = Hall::open(config().shards(shards));
    hall.engine.create_room("tea", options).unwrap();
    hall
}

fn presence() -> RoomOptions {
    RoomOptions::new().presence()
}

fn names(list: &Value) -> Vec<String> {
    let name = |name: &Value| name.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// Who joined and who left, by a notice.
fn change(text: &str) -> (Vec<String>, Vec<String>) {
    let notice: Value = serde_json::from_str(text).expect(text);
    let begins = r#"{"type":"notify","event":"presence","data":{"room":"tea","joined":["#;
    assert!(text.starts_with(begins), "{text}");
    assert!(notice["timestamp"].as_u64().unwrap() > 1_700_000_000);
    (
        names(&notice["data"]["joined"]),
        names(&notice["data"]["left"]),
    )
}

/// Who is there, for one who follows the notices: nobody joins twice or leaves without having joined.
fn follow(known: &mut BTreeSet<String>, texts: Vec<String>) {
    for text in texts {
        let (joined, left) = change(&text);
        assert!(!joined.is_empty() || !left.is_empty());
        joined
            .into_iter()
            .for_each(|name| assert!(known.insert(name)));
        left.iter()
            .for_each(|name| assert!(known.remove(name), "{name}"));
    }
}

fn users(hall: &Hall) -> Vec<(String, usize)> {
    let present = hall.engine.presence("tea").unwrap();
    let users = present.users.iter();
    users
        .map(|(name, devices)| (name.to_string(), *devices))
        .collect()
}

fn user(name: &str, devices: usize) -> (String, usize) {
    (name.to_owned(), devices)
}

#[test]
fn several_devices_are_one_user_on_all_shards() {
    for shards in [1, 2] {
        let hall = open(shards, presence());
        assert!(hall.engine.room("tea").unwrap().has_presence);
        let mut watcher = hall.enter();
        watcher.join("tea");
        // The system deals connections out as it likes: some of these are on each shard.
        let mut devices: Vec<Guest> = (0..8).map(|_| hall.enter_as("ann")).collect();
        devices.iter_mut().for_each(|device| device.join("tea"));
        let mut bob = hall.enter_as("bob");
        bob.join("tea");
        assert_eq!(users(&hall), [user("ann", 8), user("bob", 1)]);
        assert_eq!(hall.engine.presence("tea").unwrap().anonymous, 1);
        let present = hall.engine.presence("tea");
        assert_eq!(bob.ask("presence tea"), format!("{present:?}"));
        let mut known = BTreeSet::new();
        until("they are told of", || {
            follow(&mut known, watcher.all_heard());
            known.len() == 2
        });
        // All but one leave, each in its way.
        devices[1].ask("leave tea");
        devices[2].ask("leave_all");
        devices[3].client.close(1000, "");
        devices[4].client.finish();
        let ann = devices.swap_remove(0);
        drop(devices);
        until("one device is left", || users(&hall)[0] == user("ann", 1));
        follow(&mut known, watcher.all_heard());
        assert_eq!(known.len(), 2, "nothing to be told");
        drop(ann);
        until("she is told to have left", || {
            follow(&mut known, watcher.all_heard());
            known.len() == 1
        });
        assert_eq!(users(&hall), [user("bob", 1)]);
        drop(watcher);
        until("the watcher is gone", || {
            hall.engine.presence("tea").unwrap().anonymous == 0
        });
    }
}

#[test]
fn rooms_have_no_presence_unless_they_are_told_to() {
    let hall = Hall::open(config());
    let mut ann = hall.enter_as("ann");
    ann.join("tea");
    assert_eq!(hall.engine.presence("tea"), None);
    assert_eq!(hall.engine.presence("ale"), None, "there is none");
    assert!(!hall.engine.room("tea").unwrap().has_presence);
    assert!(ann.all_heard().is_empty());

    let hall = Hall::open(config().presence(true));
    hall.engine.create_room("ale", RoomOptions::new()).unwrap();
    let mut ann = hall.enter_as("ann");
    ann.join("tea");
    assert_eq!(users(&hall), [user("ann", 1)]);
    let heard = ann.hear();
    assert_eq!(
        change(&heard),
        (vec!["ann".to_owned()], vec![]),
        "of herself"
    );
    ann.join("ale");
    assert_eq!(hall.engine.presence("ale"), None, "it was created without");
    ann.ask("leave tea");
    assert_eq!(hall.engine.presence("tea"), None, "it is gone");
    ann.join("tea");
    assert_eq!(users(&hall), [user("ann", 1)]);
}

/// Who leaves and returns at once never left; with nobody else the next thing heard tells so.
#[test]
fn who_returns_within_a_turn_is_not_told_of() {
    let hall = open(1, presence());
    let (mut ann, mut bob) = (hall.enter_as("ann"), hall.enter_as("bob"));
    ann.join("tea");
    bob.join("tea");
    let mut known = BTreeSet::new();
    until("bob is told of", || {
        follow(&mut known, ann.all_heard());
        known.len() == 2
    });
    assert_eq!(bob.ask("rejoin tea"), "true Ok(())");
    bob.ask("leave tea");
    let heard = ann.hear();
    assert_eq!(change(&heard), (vec![], vec!["bob".to_owned()]));
}

/// Whose connection it is may be known only once it is in the room, and may change.
#[test]
fn a_user_may_become_known_later() {
    let hall = open(2, presence());
    let mut guests = hall.enter_each(2);
    guests.iter_mut().for_each(|guest| guest.join("tea"));
    let anonymous = || hall.engine.presence("tea").unwrap().anonymous;
    assert_eq!((users(&hall), anonymous()), (vec![], 2));
    let mut known = BTreeSet::new();
    for (name, expected) in [("ann", vec!["ann"]), ("bob", vec!["bob"]), ("", vec![])] {
        guests[1].ask(&format!("user {name}"));
        let there: Vec<_> = expected.iter().map(|name| user(name, 1)).collect();
        assert_eq!((users(&hall), anonymous()), (there, 2 - expected.len()));
        until("it is told", || {
            follow(&mut known, guests[0].all_heard());
            known.iter().eq(expected.iter())
        });
    }
}

/// A storm of joins is few messages.
#[test]
fn what_happens_at_once_is_told_as_one() {
    const GUESTS: usize = 100;
    let hall = open(1, presence());
    let mut watcher = hall.enter();
    watcher.join("tea");
    let mut guests: Vec<Guest> = (0..GUESTS)
        .map(|number| hall.enter_as(&format!("user-{number}")))
        .collect();
    hall.hold(&mut watcher);
    for guest in &mut guests {
        guest.client.text("join tea");
    }
    hall.go_on();
    let (mut known, mut notices) = (BTreeSet::new(), 0);
    while known.len() < GUESTS {
        follow(&mut known, vec![watcher.hear()]);
        notices += 1;
    }
    assert!(notices <= 5, "{notices} notices");
}

/// All members hear the same notices in the same order, whichever shards they and those who come and go
/// are on.
#[test]
fn all_members_are_told_in_the_same_order() {
    let hall = open(3, presence());
    let mut watchers = hall.enter_each(3);
    watchers.iter_mut().for_each(|watcher| watcher.join("tea"));
    for round in 0..40 {
        let mut guests: Vec<Guest> = (0..3)
            .map(|number| hall.enter_as(&format!("{round}-{number}")))
            .collect();
        for guest in &mut guests {
            guest.client.text("join tea");
        }
        guests[0].client.text("rejoin tea");
        guests[1].client.text("leave tea");
        for guest in &mut guests {
            guest.answer();
        }
    }
    until("all are gone", || users(&hall).is_empty());
    let mut heard: Vec<Vec<String>> = vec![Vec::new(); 3];
    let mut known: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 3];
    until("all have been told", || {
        for (at, watcher) in watchers.iter_mut().enumerate() {
            let texts = watcher.all_heard();
            follow(&mut known[at], texts.clone());
            heard[at].extend(texts);
        }
        known.iter().all(BTreeSet::is_empty) && heard.iter().all(|it| it.len() == heard[0].len())
    });
    assert!(heard[0].len() > 1);
    assert!(heard.iter().all(|other| *other == heard[0]));
}

/// A shard has its first member while something that was told before is on its way to it, and what took that back is not.
#[test]
fn who_comes_hears_nothing_from_before() {
    let hall = open(3, presence());
    // The shard that tells of the room, which must not wait, is found as the engine finds it.
    let mut hasher = DefaultHasher::new();
    "tea".hash(&mut hasher);
    let there = (hasher.finish() + 1) % 3;
    let enter = |user, is_there| {
        let fits = |guest: &Guest| (guest.shard() == there) == is_there;
        let mut guests = std::iter::repeat_with(|| hall.enter_as(user));
        guests.find(fits).unwrap()
    };
    let [mut eve, mut xena, mut yan] = ["eve", "xena", "yan"].map(|user| enter(user, false));
    let [mut carl, mut dave] = ["carl", "dave"].map(|user| enter(user, true));
    eve.join("tea");
    carl.join("tea");
    // What carl says is read at once.
    hall.hold(&mut dave);
    for command in ["hold", "leave tea", "hold", "join tea", "presence tea"] {
        carl.client.text(command);
    }
    hall.go_on();
    hall.until_held();
    xena.join("tea");
    while !change(&eve.hear()).0.contains(&"xena".to_owned()) {}
    hall.go_on();
    hall.until_held();
    assert_eq!(xena.ask("leave tea"), "true");
    while !change(&eve.hear()).1.contains(&"xena".to_owned()) {}
    hall.go_on();
    assert_eq!((&*carl.answer(), &*carl.answer()), ("true", "Ok(())"));
    let present = carl.answer();
    assert!(present.contains("carl") && !present.contains("xena"));
    carl.heard.clear();
    yan.join("tea");
    let mut last = String::new();
    while !last.contains("yan") {
        carl.heard.push(last);
        last = carl.hear();
    }
    assert!(!carl.heard.join("").contains("xena"), "{:?}", carl.heard);
}

/// Notices take no offsets and are in no history.
#[test]
fn a_sequenced_room_has_presence() {
    let history = throng::History::messages(100);
    let hall = open(2, presence().sequenced().history(history));
    let mut guests = hall.enter_each(2);
    guests.iter_mut().for_each(|guest| guest.join("tea"));
    let mut ann = hall.enter_as("ann");
    ann.join("tea");
    for guest in &mut guests {
        let heard = guest.hear();
        assert_eq!(change(&heard).0, ["ann"]);
        guest.heard.clear();
    }
    let numbered = hall.engine.to("tea").numbered(|at| at.offset.to_string());
    numbered.publish().unwrap();
    for guest in &mut guests {
        assert_eq!(guest.hear(), "1");
    }
    let mut late = hall.enter();
    assert!(late.ask("last tea 9").starts_with("true "));
    assert_eq!(late.heard, ["1"]);
}

#[test]
fn the_service_says_how_it_is_told() {
    let hall = Hall::open(config());
    for room in ["own", "quiet", "panics"] {
        hall.engine.create_room(room, presence()).unwrap();
    }
    let (mut ann, mut bob) = (hall.enter_as("ann"), hall.enter_as("bob"));
    for room in ["quiet", "panics", "own"] {
        ann.join(room);
        bob.join(room);
    }
    let mut heard: Vec<String> = Vec::new();
    while heard.concat().matches('"').count() < 4 {
        ann.ask("rooms");
        heard.append(&mut ann.heard);
    }
    let told = [r#"["ann"] []["bob"] []"#, r#"["ann", "bob"] []"#];
    assert!(told.contains(&&*heard.concat()), "{heard:?}");
    let present = hall.engine.presence("panics").unwrap();
    assert_eq!(present.users.len(), 2, "known all the same");
}

/// With a room goes who was in it, and nobody is told of that but by the deletion.
#[test]
fn presence_goes_with_the_room() {
    let hall = open(2, presence());
    let mut guests: Vec<Guest> = ["ann", "bob", "cas"].map(|name| hall.enter_as(name)).into();
    for guest in &mut guests {
        guest.join("tea");
    }
    let mut known = [(); 3].map(|()| BTreeSet::new());
    for (guest, known) in guests.iter_mut().zip(&mut known) {
        until("the last one is told of", || {
            for text in guest.all_heard() {
                known.extend(change(&text).0);
            }
            known.contains("cas")
        });
    }
    assert!(hall.engine.delete_room("tea"));
    assert_eq!(hall.engine.presence("tea"), None);
    for guest in &mut guests {
        assert!(guest.hear().contains("room.deleted"));
    }
    hall.engine.create_room("tea", presence()).unwrap();
    assert_eq!(hall.engine.presence("tea"), Some(RoomPresence::default()));
    for guest in &mut guests {
        assert!(guest.all_heard().is_empty());
    }
}

/// Once the engine drains, nobody is told who leaves.
#[test]
fn a_drain_tells_nobody_who_leaves() {
    let hall = open(2, presence());
    let mut guests: Vec<Guest> = (0..20)
        .map(|number| hall.enter_as(&format!("user-{number}")))
        .collect();
    guests.iter_mut().for_each(|guest| guest.join("tea"));
    let mut known: Vec<BTreeSet<String>> = vec![BTreeSet::new(); guests.len()];
    for (guest, known) in guests.iter_mut().zip(&mut known) {
        until("the last one is told of", || {
            for text in guest.all_heard() {
                known.extend(change(&text).0);
            }
            known.contains("user-19")
        });
    }
    let drained = hall.engine.drain(Duration::from_millis(200));
    assert_eq!((drained.connections, drained.flushed), (20, 20));
    for guest in &mut guests {
        assert!(matches!(guest.client.hear(), Heard::Close(Some(1012), _)));
    }
}
