//! A panic of the service costs the one connection, wherever it happens and whatever it is
//! raised with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::panic::panic_any;

use throng::{Accept, Close, Conn, Engine, Handler, Message, Origins, Reject, Upgrade};
use throng_tests::engine::{Client, Heard, config, request, serve, serve_with};

/// Panics once more when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Panics with a grenade where it is told to.
struct Thrower;

impl Handler for Thrower {
    type State = ();

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        if request.header("x-throw").is_some() {
            panic_any(Grenade);
        }
        Ok(Accept::new(()))
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        match message.as_text() {
            Some("throw") => panic_any(Grenade),
            _ => drop(conn.send(message)),
        }
    }

    fn on_close(&self, _: &mut Conn<'_, ()>, _: &Close) {
        panic_any(Grenade);
    }
}

fn connect(engine: &Engine) -> Client {
    Client::connect(engine.local_addr().unwrap())
}

/// The status line that an upgrade is answered with.
fn status(engine: &Engine, further: &str) -> String {
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(request(further).as_bytes());
    client.read_head().lines().next().unwrap().to_owned()
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_is_one_connections_affair() {
    let engine = serve_with(config(), Thrower);
    let (mut bystander, mut thrower) = (connect(&engine), connect(&engine));
    thrower.text("throw");
    assert!(matches!(thrower.hear(), Heard::Close(Some(1011), _)));
    let answer = status(&engine, "X-Throw: yes\r\n");
    assert!(answer.contains(" 500 "), "{answer}");
    assert_eq!(bystander.ask("and you?"), "and you?");
}

#[test]
fn a_panic_in_an_origin_check_is_answered() {
    let picky = Origins::check(|origin, _| {
        assert_ne!(origin, "null", "as told");
        true
    });
    let served = serve(config().origins(picky));
    let mut bystander = served.connect();
    let answer = status(&served.engine, "Origin: null\r\n");
    assert!(answer.contains(" 500 "), "{answer}");
    let answer = status(&served.engine, "Origin: https://throng.example\r\n");
    assert!(answer.contains(" 101 "), "{answer}");
    assert_eq!(bystander.ask("and you?"), "and you?");
}
