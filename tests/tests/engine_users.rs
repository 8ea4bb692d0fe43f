//! Users, of whom each may have several connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use throng::{
    Accept, CloseCode, Conn, Engine, Handler, MembersError, Message, PublishError, Reject, Upgrade,
};
use throng_tests::engine::{Client, Heard, config, request, serve_with, until};

/// Everybody is whom they say they are, in the query or later.
struct Names;

#[derive(Debug, PartialEq)]
struct Language(String);

impl Handler for Names {
    type State = ();

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        let mut accept = Accept::new(()).attribute(Language("de".to_owned()));
        if let Some(user) = request.query_value("user") {
            accept = accept.user_id(user);
        }
        Ok(accept)
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let text = message.as_text().unwrap();
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "i-am" => conn.set_user_id(rest),
            "nobody" => conn.set_user_id(None),
            "tell" => {
                let (user, text) = rest.split_once(' ').unwrap();
                let receipt = conn.to_user(user).text(text.to_owned()).publish();
                conn.send(&*format!("{}+{}", receipt.queued, receipt.forwarded));
                return;
            }
            "tell-others" => {
                let user = conn.user_id().unwrap().to_owned();
                conn.to_user(&user)
                    .except_self()
                    .text(rest.to_owned())
                    .publish();
            }
            "members" => {
                let members = conn.engine().connections_of_user(rest);
                assert_eq!(members, Err(MembersError::OnShard));
            }
            "speak" => {
                let before = conn.attributes().insert(Language(rest.to_owned()));
                let now = conn.attribute::<Language>().unwrap();
                let told = format!("{} instead of {}", now.0, before.unwrap().0);
                conn.send(&*told);
                return;
            }
            _ => {}
        }
        let user = conn.user_id().map(str::to_owned);
        conn.send(&*format!("{user:?}"));
    }
}

fn serve(shards: usize) -> Engine {
    serve_with(config().shards(shards), Names)
}

fn device(engine: &Engine, user: &str) -> Client {
    let mut client = Client::silent(engine.local_addr().unwrap());
    let request = request("").replacen("GET /", &format!("GET /?user={user}&x="), 1);
    client.upgrade(&request);
    assert_eq!(client.ask("who"), format!("Some({user:?})"));
    client
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

/// On one shard and on several.
fn on_shards(test: impl Fn(&Engine)) {
    for shards in [1, 3] {
        test(&serve(shards));
    }
}

#[test]
fn what_is_for_a_user_reaches_every_device_once() {
    on_shards(|engine| {
        let mut ann: Vec<Client> = (0..5).map(|_| device(engine, "ann")).collect();
        let mut bob = device(engine, "bob");
        assert_eq!((engine.user_len("ann"), engine.user_count()), (5, 2));
        engine
            .to_user("ann")
            .text("from outside")
            .publish()
            .unwrap();
        bob.text("tell ann from bob");
        ann[0].text("tell-others from myself");
        assert!(matches!(bob.hear(), Heard::Text(_)));
        assert_eq!(bob.ask("who"), "Some(\"bob\")", "nothing of it is for him");
        for (at, device) in ann.iter_mut().enumerate() {
            let mut heard = vec![device.hear(), device.hear(), device.hear()];
            heard.sort_by_key(|heard| format!("{heard:?}"));
            let mut expected = vec![text("from bob"), text("from outside"), text("from myself")];
            if at == 0 {
                expected[2] = text("Some(\"ann\")");
            }
            expected.sort_by_key(|heard| format!("{heard:?}"));
            assert_eq!(heard, expected, "device {at}");
        }
    });
}

#[test]
fn a_receipt_tells_that_a_user_is_away() {
    on_shards(|engine| {
        let mut ann = device(engine, "ann");
        assert_eq!(ann.ask("tell bob hello"), "0+0");
        engine.to_user("bob").text("hello").publish().unwrap();
        let receipt = engine.to_user("ann").text("x").publish_with_receipt();
        assert_eq!(receipt.wait().unwrap().audience(), 1);
        let receipt = engine.to_user("bob").text("x").publish_with_receipt();
        assert_eq!(receipt.wait().unwrap().audience(), 0);
    });
}

#[test]
fn a_user_may_become_known_later_and_change() {
    on_shards(|engine| {
        let mut client = Client::connect(engine.local_addr().unwrap());
        assert_eq!(client.ask("who"), "None");
        assert_eq!(engine.user_count(), 0);
        assert_eq!(client.ask("i-am ann"), "Some(\"ann\")");
        assert_eq!(client.ask("i-am ann"), "Some(\"ann\")");
        assert_eq!((engine.user_len("ann"), engine.user_count()), (1, 1));
        assert_eq!(client.ask("i-am bob"), "Some(\"bob\")");
        assert_eq!((engine.user_len("ann"), engine.user_len("bob")), (0, 1));
        assert_eq!(client.ask("nobody"), "None");
        assert_eq!(engine.user_count(), 0);
        assert_eq!(client.ask("i-am ann"), "Some(\"ann\")");
        drop(client);
        until("she is gone", || engine.user_count() == 0);
    });
}

#[test]
fn a_user_is_closed_on_every_device() {
    on_shards(|engine| {
        let mut ann: Vec<Client> = (0..4).map(|_| device(engine, "ann")).collect();
        let mut bob = device(engine, "bob");
        let ids = engine.connections_of_user("ann").unwrap();
        assert_eq!(ids.len(), 4);
        assert_eq!(engine.connections_of_user("carl"), Ok(Vec::new()));
        assert_eq!(bob.ask("members ann"), "Some(\"bob\")");
        engine.to_user("ann").text("farewell").publish().unwrap();
        engine
            .close_user("ann", CloseCode::POLICY, "revoked")
            .unwrap();
        engine.close_user("carl", CloseCode::POLICY, "").unwrap();
        for device in &mut ann {
            assert_eq!(
                device.hear(),
                text("farewell"),
                "what was sent before comes"
            );
            assert_eq!(device.expect_close(1008), "revoked");
        }
        until("she is gone", || engine.user_len("ann") == 0);
        assert_eq!(bob.ask("who"), "Some(\"bob\")");
    });
}

#[test]
fn users_are_no_rooms() {
    on_shards(|engine| {
        let mut ann = device(engine, "ann");
        assert_eq!((engine.room_count(), engine.room_len("ann")), (0, 0));
        engine.to("ann").text("to the room").publish().unwrap();
        assert_eq!(ann.ask("who"), "Some(\"ann\")");
    });
}

#[test]
fn attributes_are_given_at_the_upgrade_and_changed_later() {
    on_shards(|engine| {
        let mut ann = device(engine, "ann");
        assert_eq!(ann.ask("speak fr"), "fr instead of de");
        assert_eq!(ann.ask("speak it"), "it instead of fr");
        assert_eq!(device(engine, "ann").ask("speak fr"), "fr instead of de");
    });
}

#[test]
fn an_engine_that_has_stopped_has_no_users() {
    let engine = serve(2);
    let _ann = device(&engine, "ann");
    let handle = engine.handle();
    drop(engine);
    assert_eq!(handle.user_count(), 0);
    assert_eq!(handle.close_user("ann", CloseCode::POLICY, ""), Ok(()));
    let published = handle.to_user("ann").text("hello").publish();
    assert_eq!(published, Err(PublishError::Stopped));
}
