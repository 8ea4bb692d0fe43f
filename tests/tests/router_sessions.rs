//! Sessions and ready-made events of a router, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use serde_json::{Value, json};
use throng::router::{Auth, EventError, Expiry, Identity, Sessions, TokenError, ready};
use throng::{CloseCode, Config, Engine, History, RoomOptions, Router};
use throng_tests::engine::{Client, Heard, config, request_of, serve_router, until};

#[derive(Debug)]
struct Language(String);

fn validate(token: &str, _: u64) -> Result<Identity, TokenError> {
    match token {
        "nobody" => Err(TokenError::Unknown),
        user => Ok(Identity::new(user).with_roles(["member"])),
    }
}

fn router() -> Router {
    let mut router = Router::new();
    ready::join(&mut router, |_, room| match room {
        "staff" => Err(EventError::forbidden("members of staff only")),
        _ => Ok(()),
    });
    ready::leave(&mut router);
    ready::say(&mut router);
    ready::tell(&mut router);
    ready::presence(&mut router);
    ready::echo(&mut router);
    router.on("speak", |cx, language: String| {
        cx.attributes().insert(Language(language));
        Ok(())
    });
    router.on("whoami", |cx, ()| {
        let language = cx.attribute::<Language>().map(|it| it.0.clone());
        let rooms: Vec<String> = cx.rooms().map(str::to_owned).collect();
        Ok(json!({"user": cx.user_id(), "language": language, "rooms": rooms}))
    });
    router
}

fn start(router: Router, shards: usize) -> Engine {
    let config = config().shards(shards).presence(true);
    let engine = serve_router(config, router);
    let sequenced = RoomOptions::new().sequenced().history(History::messages(5));
    engine.create_room("trades", sequenced).unwrap();
    engine
}

fn with_sessions(window: Duration, shards: usize) -> Engine {
    let mut router = router();
    router.auth(Auth::new(validate));
    router.sessions(Sessions::new(window));
    start(router, shards)
}

fn connect(engine: &Engine, user: &str) -> Client {
    let bearer = format!("Authorization: Bearer {user}\r\n");
    Client::connect_with(engine.local_addr().unwrap(), &bearer)
}

/// What an event that goes well is answered.
fn done(client: &mut Client, event: &str, data: &Value) -> Value {
    let answer = client.request(event, data);
    assert_eq!(answer["code"], 200, "{event} {data}: {answer}");
    answer["data"].clone()
}

fn session(client: &mut Client) -> String {
    let told = client.hear_json();
    assert_eq!(told["event"], "session");
    told["data"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn rooms_are_joined_talked_in_and_left() {
    for shards in [1, 3] {
        let engine = start(router(), shards);
        let mut ann = Client::connect(engine.local_addr().unwrap());
        let mut bob = Client::connect(engine.local_addr().unwrap());
        let tea = json!({"room": "tea"});
        assert_eq!(
            done(&mut ann, "room.join", &tea),
            json!({"room": "tea", "members": 1})
        );
        assert_eq!(done(&mut bob, "room.join", &tea)["members"], 2);
        let say = json!({"room": "tea", "content": {"text": "hello"}});
        assert_eq!(done(&mut ann, "room.say", &say), json!({"room": "tea"}));
        let told = bob.hear_json();
        assert_eq!(
            (&told["type"], &told["event"]),
            (&json!("notify"), &json!("room.message"))
        );
        assert_eq!(
            told["data"],
            json!({"room": "tea", "from": null, "content": {"text": "hello"}})
        );
        let left = done(&mut bob, "room.leave", &tea);
        assert_eq!(left, json!({"room": "tea", "left": true}));
        assert_eq!(done(&mut bob, "room.leave", &tea)["left"], false);
        assert_eq!(bob.request("room.say", &say)["code"], 403);
        assert_eq!(done(&mut ann, "echo", &json!([1, "x"])), json!([1, "x"]));
    }
}

/// Events that come to nothing: what they carry, and the code and message of the answer.
fn bad_input() -> Vec<(&'static str, Value, u16, &'static str)> {
    let long = "x".repeat(129);
    let both = json!({"room": "trades", "since": {"epoch": "1", "offset": 1}, "history": 1});
    let epoch = json!({"room": "trades", "since": {"epoch": "x", "offset": 1}});
    vec![
        ("room.join", json!({}), 400, "data: missing field `room`"),
        (
            "room.join",
            json!({"room": 7}),
            400,
            "data.room: invalid type: integer `7`, expected a string",
        ),
        (
            "room.join",
            json!({"room": ""}),
            400,
            "data.room: must have 1 to 128 characters, and has 0",
        ),
        (
            "room.join",
            json!({"room": long}),
            400,
            "data.room: must have 1 to 128 characters, and has 129",
        ),
        (
            "room.join",
            json!({"room": "staff"}),
            403,
            "members of staff only",
        ),
        (
            "room.join",
            both,
            400,
            "data.history: cannot be beside since",
        ),
        (
            "room.join",
            epoch,
            400,
            "data.since.epoch: invalid digit found in string",
        ),
        (
            "room.say",
            json!({"room": "tea"}),
            400,
            "data: missing field `content`",
        ),
        (
            "room.presence",
            json!({"room": "tea"}),
            403,
            "join the room first",
        ),
        (
            "user.tell",
            json!({"user": "ann", "content": 1}),
            404,
            "the user is not connected",
        ),
    ]
}

#[test]
fn bad_input_is_answered() {
    let engine = start(router(), 1);
    let mut client = Client::connect(engine.local_addr().unwrap());
    for (event, data, code, message) in bad_input() {
        let answer = client.request(event, &data);
        assert_eq!(answer["code"], code, "{event} {data}: {answer}");
        assert_eq!(answer["message"], message, "{event} {data}");
    }
    assert_eq!(
        done(&mut client, "whoami", &Value::Null)["rooms"],
        json!([])
    );
}

#[test]
fn users_tell_one_another_and_see_who_is_there() {
    let mut router = router();
    router.auth(Auth::new(validate));
    let engine = start(router, 2);
    let mut ann: Vec<Client> = (0..2).map(|_| connect(&engine, "ann")).collect();
    let mut bob = connect(&engine, "bob");
    let told = done(
        &mut bob,
        "user.tell",
        &json!({"user": "ann", "content": "psst"}),
    );
    assert_eq!(told, json!({"user": "ann", "connections": 2}));
    for device in &mut ann {
        let heard = device.hear_json();
        assert_eq!(heard["event"], "user.message");
        assert_eq!(heard["data"], json!({"from": "bob", "content": "psst"}));
        done(device, "room.join", &json!({"room": "tea"}));
    }
    done(&mut bob, "room.join", &json!({"room": "tea"}));
    let present = done(&mut bob, "room.presence", &json!({"room": "tea"}));
    let expected =
        json!({"room": "tea", "users": {"ann": 2, "bob": 1}, "count": 2, "anonymous": 0});
    assert_eq!(present, expected);
    done(&mut ann[0], "room.join", &json!({"room": "trades"}));
    let none = ann[0].request("room.presence", &json!({"room": "trades"}));
    assert_eq!(none["code"], 404);
}

#[test]
fn of_a_large_room_some_users_are_named() {
    let mut router = router();
    router.auth(Auth::new(validate));
    let engine = start(router, 1);
    let tea = json!({"room": "tea"});
    let mut guests: Vec<Client> = (0..300)
        .map(|guest| connect(&engine, &format!("guest {guest}")))
        .collect();
    for guest in &mut guests {
        done(guest, "room.join", &tea);
    }
    let present = done(&mut guests[0], "room.presence", &tea);
    let named = present["users"].as_object().unwrap().len();
    assert_eq!((named, &present["count"]), (256, &json!(300)));
}

#[test]
fn a_sequenced_room_tells_places_and_is_recovered() {
    for shards in [1, 3] {
        let engine = start(router(), shards);
        let mut ann = Client::connect(engine.local_addr().unwrap());
        let trades = json!({"room": "trades"});
        done(&mut ann, "room.join", &trades);
        for number in 0..3 {
            let say = json!({"room": "trades", "content": number});
            ann.text(&json!({"type": "notify", "event": "room.say", "data": say}).to_string());
        }
        let heard: Vec<Value> = (0..3).map(|_| ann.hear_json()["data"].clone()).collect();
        let offsets: Vec<&Value> = heard
            .iter()
            .map(|data| &data["position"]["offset"])
            .collect();
        assert_eq!(
            offsets,
            [1, 2, 3],
            "the sender is told its own, with its place"
        );
        let mut bob = Client::connect(engine.local_addr().unwrap());
        let since = json!({"room": "trades", "since": heard[0]["position"]});
        bob.text(&request_of("room.join", &since));
        for missed in &heard[1..] {
            assert_eq!(&bob.hear_json()["data"], missed);
        }
        let joined = bob.hear_json()["data"].clone();
        assert_eq!(joined["recovered"], true);
        assert_eq!(joined["position"], heard[2]["position"]);
        let mut carl = Client::connect(engine.local_addr().unwrap());
        let other = json!({"room": "trades", "since": {"epoch": "1", "offset": 1}});
        assert_eq!(done(&mut carl, "room.join", &other)["recovered"], false);
        let mut dora = Client::connect(engine.local_addr().unwrap());
        let last = json!({"room": "trades", "history": 1});
        dora.text(&request_of("room.join", &last));
        assert_eq!(dora.hear_json()["data"], heard[2]);
        assert_eq!(dora.hear_json()["data"]["recovered"], true);
    }
}

#[test]
fn who_returns_in_time_finds_everything_again() {
    for shards in [1, 3] {
        let engine = with_sessions(Duration::from_secs(60), shards);
        let mut bob = connect(&engine, "bob");
        session(&mut bob);
        let mut ann = connect(&engine, "ann");
        let token = session(&mut ann);
        done(&mut ann, "speak", &json!("de"));
        done(&mut ann, "room.join", &json!({"room": "tea"}));
        done(&mut ann, "room.join", &json!({"room": "trades"}));
        done(&mut bob, "room.join", &json!({"room": "trades"}));
        let say = |bob: &mut Client, content: &str| {
            let say = json!({"room": "trades", "content": content});
            bob.text(&json!({"type": "notify", "event": "room.say", "data": say}).to_string());
            bob.hear_json()
        };
        say(&mut bob, "heard");
        let position = ann.hear_json()["data"]["position"].clone();
        drop(ann);
        until("she is gone", || engine.user_len("ann") == 0);
        for content in ["missed", "missed, too"] {
            say(&mut bob, content);
        }
        // Without a token for the upgrade: the session's says who it is.
        let mut ann = Client::connect(engine.local_addr().unwrap());
        let other = session(&mut ann);
        assert_ne!(other, token);
        let resume = json!({"token": token, "positions": {"trades": position}});
        ann.text(&request_of("session.resume", &resume));
        assert_eq!(ann.hear_json()["data"]["content"], "missed");
        assert_eq!(ann.hear_json()["data"]["content"], "missed, too");
        let resumed = ann.hear_json()["data"].clone();
        assert_eq!(
            (&resumed["resumed"], &resumed["user"]),
            (&json!(true), &json!("ann"))
        );
        assert_eq!(resumed["rooms"]["tea"], json!({"recovered": false}));
        let trades = &resumed["rooms"]["trades"];
        assert_eq!(
            (&trades["recovered"], &trades["messages"]),
            (&json!(true), &json!(2))
        );
        let me = done(&mut ann, "whoami", &Value::Null);
        assert_eq!(
            (&me["user"], &me["language"]),
            (&json!("ann"), &json!("de"))
        );
        assert_eq!(me["rooms"].as_array().unwrap().len(), 2);
        say(&mut bob, "new");
        assert_eq!(ann.hear_json()["data"]["content"], "new");
        let again = done(&mut ann, "session.resume", &resume);
        assert_eq!(again, json!({"resumed": false}), "a token holds once");
    }
}

#[test]
fn a_session_that_is_not_there_is_an_explicit_no() {
    let engine = with_sessions(Duration::from_millis(100), 2);
    let mut ann = connect(&engine, "ann");
    let token = session(&mut ann);
    drop(ann);
    until("she is gone", || engine.user_len("ann") == 0);
    std::thread::sleep(Duration::from_millis(300));
    let mut client = Client::connect(engine.local_addr().unwrap());
    session(&mut client);
    for token in [token.as_str(), "", "nonsense", &"0".repeat(32)] {
        let answer = done(&mut client, "session.resume", &json!({"token": token}));
        assert_eq!(answer, json!({"resumed": false}), "{token}");
    }
    let missing = client.request("session.resume", &json!({}));
    assert_eq!(missing["message"], "data: missing field `token`");
    let positions: serde_json::Map<String, Value> = (0..5000)
        .map(|room| (room.to_string(), json!({"epoch": "1", "offset": 1})))
        .collect();
    let many = client.request(
        "session.resume",
        &json!({"token": "", "positions": positions}),
    );
    assert_eq!(
        many["message"],
        "data.positions: 5000 of them, of which 4096 are allowed"
    );
    assert_eq!(
        client.request("whoami", &Value::Null)["code"],
        401,
        "nothing was restored"
    );
}

#[test]
fn who_has_said_goodbye_or_was_sent_away_leaves_no_session() {
    let engine = with_sessions(Duration::from_secs(60), 1);
    let mut left = connect(&engine, "ann");
    let goodbye = session(&mut left);
    left.close(1000, "");
    left.expect_close(1000);
    let mut closed = connect(&engine, "carl");
    let without_a_code = session(&mut closed);
    closed.frame(true, throng::protocol::frame::OpCode::Close, &[]);
    assert_eq!(closed.hear(), Heard::Close(None, String::new()));
    let mut nobody = Client::connect(engine.local_addr().unwrap());
    let anonymous = session(&mut nobody);
    drop(nobody);
    let mut kicked = connect(&engine, "bob");
    let sent_away = session(&mut kicked);
    engine.close_user("bob", CloseCode::POLICY, "out").unwrap();
    kicked.expect_close(1008);
    until("both are gone", || engine.user_count() == 0);
    let mut client = Client::connect(engine.local_addr().unwrap());
    session(&mut client);
    until("only this one is left", || engine.connections() == 1);
    for token in [goodbye, without_a_code, anonymous, sent_away] {
        let answer = done(&mut client, "session.resume", &json!({"token": token}));
        assert_eq!(answer, json!({"resumed": false}));
    }
}

#[test]
fn a_session_is_its_users_alone_and_ends_with_a_revocation() {
    let mut router = router();
    let auth = Auth::new(validate);
    let revocations = auth.revocations();
    router.auth(auth);
    router.sessions(Sessions::new(Duration::from_secs(60)));
    let engine = start(router, 1);
    let mut ann = connect(&engine, "ann");
    let token = session(&mut ann);
    drop(ann);
    until("she is gone", || engine.user_len("ann") == 0);
    let mut bob = connect(&engine, "bob");
    session(&mut bob);
    let refused = bob.request("session.resume", &json!({"token": token}));
    assert_eq!(refused["message"], "the session is another user's");
    assert_eq!(done(&mut bob, "whoami", &Value::Null)["user"], "bob");
    revocations.revoke("ann", &engine).unwrap();
    let mut thief = Client::connect(engine.local_addr().unwrap());
    session(&mut thief);
    let resumed = done(&mut thief, "session.resume", &json!({"token": token}));
    assert_eq!(resumed, json!({"resumed": false}));
    assert_eq!(thief.request("whoami", &Value::Null)["code"], 401);
}

/// What is left of a connection whose token has expired, and that has not been asked for another one in vain yet.
#[test]
fn who_is_asked_for_a_token_leaves_no_session_until_there_is_one() {
    let grace = Duration::from_secs(60);
    let mut router = router();
    let token_until = |token: &str, now: u64| match token.split_once(' ') {
        Some((user, "soon")) => Ok(Identity::new(user).with_expires_at(now + 2)),
        _ => Ok(Identity::new(token)),
    };
    router.auth(Auth::new(token_until).expiry(Expiry::Ask { grace }));
    let sessions = Sessions::new(Duration::from_secs(60));
    router.sessions(sessions.clone());
    let engine = start(router, 1);
    for renews in [false, true] {
        let mut ann = connect(&engine, "ann soon");
        let token = session(&mut ann);
        assert_eq!(ann.hear_json()["type"], "auth_expired");
        if renews {
            ann.text(r#"{"type":"auth","token":"ann"}"#);
            assert_eq!(ann.hear_json()["type"], "auth_success");
        }
        drop(ann);
        until("she is gone", || engine.connections() == 0);
        assert_eq!(sessions.len(), usize::from(renews));
        let mut ann = Client::of(&engine, "");
        session(&mut ann);
        let resumed = done(&mut ann, "session.resume", &json!({"token": token}));
        assert_eq!(resumed["resumed"], renews);
    }
}

/// One message must not bring the histories of any number of rooms.
#[test]
fn what_a_session_recalls_is_bounded() {
    let engine = with_sessions(Duration::from_secs(60), 1);
    let history = History::messages(16).max_bytes(2 << 20);
    let options = RoomOptions::new().sequenced().history(history);
    let rooms: Vec<String> = (0..8).map(|room| format!("large {room}")).collect();
    let mut ann = connect(&engine, "ann");
    let token = session(&mut ann);
    let mut positions = serde_json::Map::new();
    for room in &rooms {
        engine.create_room(room, options.clone()).unwrap();
        let joined = done(&mut ann, "room.join", &json!({"room": room, "history": 0}));
        positions.insert(room.clone(), joined["position"].clone());
    }
    drop(ann);
    until("she is gone", || engine.user_len("ann") == 0);
    let content = json!({"type": "notify", "content": "x".repeat(64 << 10)}).to_string();
    for room in &rooms {
        for _ in 0..16 {
            let published = engine.to(room).text(&*content).publish_with_receipt();
            assert_eq!(published.wait().unwrap().refused, 0);
        }
    }
    let mut ann = Client::connect(engine.local_addr().unwrap());
    session(&mut ann);
    let resume = json!({"token": token, "positions": positions});
    ann.text(&request_of("session.resume", &resume));
    let mut recalled = 0;
    let resumed = loop {
        let heard = ann.hear_json();
        if heard["type"] == "response" {
            break heard["data"]["rooms"].clone();
        }
        recalled += 1;
    };
    let recovered = rooms
        .iter()
        .filter(|room| resumed[*room]["recovered"] == true);
    assert_eq!((recovered.count(), recalled), (4, 64));
    let me = done(&mut ann, "whoami", &Value::Null);
    assert_eq!(
        me["rooms"].as_array().unwrap().len(),
        8,
        "it is in all of them"
    );
}

/// Rooms that a client has joined, and then been lost: what that takes is bounded, and known.
#[test]
fn sessions_count_to_the_memory_budget() {
    let fill = |(count, length): (usize, usize)| {
        (0..count).map(move |room| format!("{room} {}", "x".repeat(length)))
    };
    let serve = |settings: Config| {
        let mut router = router();
        router.on("fill", move |cx, what: (usize, usize)| {
            Ok(fill(what).filter(|room| cx.join(room).is_ok()).count())
        });
        let sessions = Sessions::new(Duration::from_secs(60));
        router.sessions(sessions.clone());
        let settings = settings.max_rooms_per_connection(None);
        (serve_router(settings, router), sessions)
    };
    let lose = |engine: &Engine, what: (usize, usize)| {
        let mut client = Client::connect(engine.local_addr().unwrap());
        let token = session(&mut client);
        done(&mut client, "fill", &json!(what));
        drop(client);
        until("it is gone", || engine.connections() == 0);
        token
    };
    let (engine, sessions) = serve(config());
    lose(&engine, (4096, 16 << 10));
    assert_eq!(sessions.len(), 1);
    assert!(engine.memory().bytes >= 64 << 20);
    let many = lose(&engine, (5000, 8));
    let mut client = Client::connect(engine.local_addr().unwrap());
    session(&mut client);
    let resumed = done(&mut client, "session.resume", &json!({"token": many}));
    assert_eq!(resumed["rooms"].as_object().unwrap().len(), 4096);
    let (engine, sessions) = serve(config().memory_budget(1 << 30));
    for _ in 0..3 {
        lose(&engine, (40, 1 << 20));
    }
    assert_eq!(sessions.len(), 1, "of 64 MiB for all");
}
