//! Who the clients of a router are, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use throng::protocol::frame::OpCode;
use throng::router::{
    Auth, EventError, Expiry, Identity, RateLimit, Revocations, RevokeError, Source, TokenError,
    Valid, Validate,
};
use throng::{Engine, Router};
use throng_tests::engine::{Client, Heard, config, request, serve_router, until};

/// Tokens such as `ann`, `ann:admin,cook`, `ann::1707552000` (which ends then) and `ann:::1707552000` (made then).
fn validate(token: &str, now: u64) -> Result<Identity, TokenError> {
    let mut parts = token.split(':');
    let user = parts.next().unwrap_or_default();
    match user {
        "nobody" => return Err(TokenError::Unknown),
        "clock" => return Err(TokenError::Other(format!("it is {}", now > 1_700_000_000))),
        _ => {}
    }
    let roles = parts.next().unwrap_or_default().split(',');
    let mut identity = Identity::new(user).with_roles(roles.filter(|role| !role.is_empty()));
    if let Some(end) = parts.next().and_then(|end| end.parse().ok()) {
        identity = identity.with_expires_at(end);
    }
    if let Some(made) = parts.next().and_then(|made| made.parse().ok()) {
        identity = identity.with_issued_at(made);
    }
    Ok(identity)
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn serve(auth: Auth) -> Engine {
    let mut router = Router::new();
    router.auth(auth);
    router.on("whoami", |cx, ()| {
        let identity = cx.identity().map(|identity| identity.user().to_owned());
        Ok((cx.user_id().map(str::to_owned), identity))
    });
    router
        .on("cook", |_, ()| Ok("done"))
        .roles(["cook", "admin"]);
    router.on("version", |_, ()| Ok(1)).public();
    router.on_other(|conn, message| {
        conn.send(message);
    });
    serve_router(config(), router)
}

fn refusal(engine: &Engine, further: &str) -> (u16, String) {
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(request(further).as_bytes());
    let head = client.read_head();
    client.finish();
    let body = String::from_utf8(client.read_to_end()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if status == 401 {
        assert!(head.contains("WWW-Authenticate: Bearer\r\n"), "{head}");
    }
    (status, body)
}

/// Asks for what takes no data.
fn ask(client: &mut Client, event: &str) -> Value {
    client.request(event, &Value::Null)
}

fn send_token(client: &mut Client, token: &str) -> Value {
    client.text(&json!({"type": "auth", "token": token}).to_string());
    let mut answer = client.hear_json();
    assert!(answer["timestamp"].as_u64().unwrap() > 1_700_000_000);
    answer["timestamp"] = json!(0);
    answer
}

#[test]
fn tokens_are_found_wherever_they_may_be() {
    let auth = Auth::new(validate)
        .source(Source::header("X-Token"))
        .source(Source::query("query"))
        .source(Source::cookie("session"))
        .source(Source::subprotocol("bearer"));
    let engine = serve(auth);
    let mut places = vec![
        "Authorization: Bearer ann\r\n",
        "authorization: bearer   ann\r\n",
        "X-Token: ann\r\n",
        "Cookie: a=b; session=ann; c=d\r\n",
        "Cookie: a=b\r\nCookie: session=\"ann\"\r\n",
        "Sec-WebSocket-Protocol: bearer, ann\r\n",
    ];
    // The query of the suite's requests is `query=1`.
    let mut by_query = Client::of(&engine, "");
    assert_eq!(ask(&mut by_query, "whoami")["data"], json!(["1", "1"]));
    for place in places.drain(..) {
        // What is looked for first comes first.
        let mut client = Client::silent(engine.local_addr().unwrap());
        client.upgrade(&request(place).replacen("?query=1", "", 1));
        assert_eq!(
            ask(&mut client, "whoami")["data"],
            json!(["ann", "ann"]),
            "{place}"
        );
    }
}

#[test]
fn a_token_that_does_not_hold_is_told_at_the_upgrade() {
    let engine = serve(Auth::new(validate).at_upgrade_only());
    let past = unix_time() - 5;
    let answered = |token: &str| refusal(&engine, &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(refusal(&engine, ""), (401, "a token is needed".to_owned()));
    assert_eq!(answered(""), (401, "a token is needed".to_owned()));
    assert_eq!(
        answered("nobody"),
        (401, "the token is not known".to_owned())
    );
    assert_eq!(answered("clock"), (401, "it is true".to_owned()));
    let expired = answered(&format!("ann::{past}"));
    assert_eq!(expired, (401, "the token has expired".to_owned()));
    assert_eq!(refusal(&engine, "Authorization: Basic ann\r\n").0, 401);
    Client::of(&engine, "Authorization: Bearer ann\r\n");
}

#[test]
fn the_subprotocol_that_brought_the_token_is_answered() {
    let engine = serve(Auth::new(validate).source(Source::subprotocol("bearer")));
    let mut client = Client::silent(engine.local_addr().unwrap());
    client.write(request("Sec-WebSocket-Protocol: bearer, ann\r\n").as_bytes());
    let head = client.read_head();
    assert!(
        head.contains("Sec-WebSocket-Protocol: bearer\r\n"),
        "{head}"
    );
}

#[test]
fn the_services_subprotocol_comes_first() {
    let mut router = Router::new();
    router.auth(Auth::new(validate).source(Source::subprotocol("bearer")));
    let engine = serve_router(config().subprotocols(["chat.v1"]), router);
    for (offered, answered) in [
        ("chat.v1, bearer, ann", "chat.v1"),
        ("bearer, ann, chat.v1", "chat.v1"),
        ("bearer, ann", "bearer"),
    ] {
        let mut client = Client::silent(engine.local_addr().unwrap());
        let header = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        client.write(request(&header).as_bytes());
        let head = client.read_head();
        let line = format!("Sec-WebSocket-Protocol: {answered}\r\n");
        assert!(head.contains(&line), "{offered}: {head}");
    }
}

#[test]
fn who_is_known_is_told_of_once() {
    let grace = Duration::from_secs(60);
    let mut router = Router::new();
    router.auth(Auth::new(validate).expiry(Expiry::Ask { grace }));
    router.on_open(|conn| {
        conn.send(r#""open""#);
    });
    router.on_authenticated(|conn| {
        let user = conn.user_id().unwrap_or_default().to_owned();
        conn.send_json(&user).unwrap();
    });
    let engine = serve_router(config(), router);
    let end = unix_time() + 2;
    let mut early = Client::of(&engine, &format!("Authorization: Bearer ann::{end}\r\n"));
    assert_eq!([(); 2].map(|()| early.hear_json()), ["open", "ann"]);
    let mut late = Client::of(&engine, "");
    assert_eq!(late.hear_json(), "open");
    assert_eq!(send_token(&mut late, "nobody")["type"], "auth_error");
    assert_eq!(send_token(&mut late, "bob")["type"], "auth_success");
    assert_eq!(late.hear_json(), "bob");
    for _ in 0..2 {
        assert_eq!(send_token(&mut late, "bob")["type"], "auth_success");
    }
    assert_eq!(early.hear_json()["type"], "auth_expired");
    assert_eq!(send_token(&mut early, "ann")["type"], "auth_success");
    assert_eq!(early.hear_json(), "ann", "she was not, for a while");
}

#[test]
fn a_first_message_authenticates() {
    let engine = serve(Auth::new(validate));
    let mut client = Client::of(&engine, "");
    let refused = ask(&mut client, "whoami");
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!(401), &json!("not authenticated"))
    );
    assert_eq!(ask(&mut client, "version")["data"], 1);
    client.frame(true, OpCode::Binary, b"no event");
    let refused = client.hear_json();
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!(401), &json!("not authenticated"))
    );
    let wrong = send_token(&mut client, "nobody");
    let told = json!({"type": "auth_error", "code": 401, "message": "the token is not known", "timestamp": 0});
    assert_eq!(wrong, told);
    client.text(r#"{"type":"auth"}"#);
    assert_eq!(client.hear_json()["message"], "token: missing");
    let end = unix_time() + 1000;
    let right = send_token(&mut client, &format!("ann:cook:{end}"));
    let told = json!({"type": "auth_success", "user_id": "ann", "expires_at": end, "timestamp": 0});
    assert_eq!(right, told);
    assert_eq!(ask(&mut client, "whoami")["data"], json!(["ann", "ann"]));
    assert_eq!(engine.user_len("ann"), 1);
    client.frame(true, OpCode::Binary, b"no event");
    assert_eq!(client.hear(), Heard::Binary(b"no event".to_vec()));
}

#[test]
fn who_does_not_say_who_they_are_is_closed_in_time() {
    let engine = serve(Auth::new(validate).first_message(Duration::from_millis(50)));
    let mut silent = Client::of(&engine, "");
    assert_eq!(silent.expect_close(1008), "not authenticated in time");
    let mut guessing = Client::of(&engine, "");
    for _ in 0..5 {
        guessing.text(r#"{"type":"auth","token":"nobody"}"#);
    }
    let heard = guessing.hear_all();
    assert!(matches!(
        heard.iter().rev().find(|it| matches!(it, Heard::Close(..))),
        Some(Heard::Close(Some(1008), _))
    ));
}

#[test]
fn too_many_wrong_tokens_close() {
    let engine = serve(Auth::new(validate));
    let mut client = Client::of(&engine, "");
    for _ in 0..5 {
        assert_eq!(send_token(&mut client, "nobody")["code"], 401);
    }
    assert_eq!(
        client.expect_close(1008),
        "too many tokens that do not hold"
    );
}

#[test]
fn tokens_that_hold_have_a_rate_too() {
    let checked = Arc::new(AtomicUsize::new(0));
    let checks = Arc::clone(&checked);
    let engine = serve(Auth::new(move |token: &str, now: u64| {
        checks.fetch_add(1, Ordering::Relaxed);
        validate(token, now)
    }));
    let mut client = Client::of(&engine, "");
    for _ in 0..8 {
        assert_eq!(send_token(&mut client, "ann")["type"], "auth_success");
    }
    // The time for one more may pass meanwhile, not that for all of these.
    for _ in 0..1000 {
        client.text(r#"{"type":"auth","token":"ann"}"#);
    }
    let heard = client.hear_all();
    let closed = heard.iter().find(|heard| matches!(heard, Heard::Close(..)));
    let reason = "too many tokens".to_owned();
    assert_eq!(closed, Some(&Heard::Close(Some(1008), reason)));
    let checked = checked.load(Ordering::Relaxed);
    assert!((8..100).contains(&checked), "{checked}");
}

#[test]
fn roles_open_events() {
    let engine = serve(Auth::new(validate));
    let mut client = Client::of(&engine, "Authorization: Bearer ann\r\n");
    let refused = ask(&mut client, "cook");
    assert_eq!(refused["code"], 403);
    assert_eq!(
        send_token(&mut client, "ann:waiter,cook")["type"],
        "auth_success"
    );
    assert_eq!(
        ask(&mut client, "cook")["data"],
        "done",
        "roles change with the token"
    );
    assert_eq!(send_token(&mut client, "ann")["type"], "auth_success");
    assert_eq!(ask(&mut client, "cook")["code"], 403);
    let mut nobody = Client::of(&engine, "");
    assert_eq!(ask(&mut nobody, "cook")["code"], 401);
}

/// Nobody has anything refused for ever.
#[test]
fn who_is_refused_again_and_again_is_closed() {
    let serve = |limit: Option<RateLimit>| {
        let mut router = Router::new();
        router.auth(Auth::new(validate));
        if let Some(limit) = limit {
            router.with(limit);
        }
        router.on("cook", |_, ()| Ok(())).roles(["cook"]);
        router.on("count", |_, number: u8| Ok(number)).max_size(4);
        serve_router(config().invalid_messages_per_minute(3), router)
    };
    let engine = serve(None);
    let ann = "Authorization: Bearer ann\r\n";
    for (who, code, event, data) in [
        ("", 401, "count", json!(1)),
        (ann, 403, "cook", Value::Null),
        (ann, 413, "count", json!("large")),
        (ann, 400, "count", json!(256)),
    ] {
        let mut client = Client::of(&engine, who);
        let request = json!({"type": "request", "event": event, "request_id": "r", "data": data});
        for _ in 0..4 {
            client.text(&request.to_string());
            assert_eq!(client.hear_json()["code"], code);
        }
        assert_eq!(client.expect_close(1008), "too many invalid messages");
    }
    let engine = serve(Some(RateLimit::per_connection(0.001, 2)));
    let mut client = Client::of(&engine, "");
    let codes = [(); 3].map(|()| ask(&mut client, "cook")["code"].clone());
    assert_eq!(codes, [401, 401, 429], "rates are of what is refused, too");
}

#[test]
fn a_connection_stays_its_users() {
    let engine = serve(Auth::new(validate));
    let mut client = Client::of(&engine, "Authorization: Bearer ann\r\n");
    let refused = send_token(&mut client, "bob");
    assert_eq!(refused["message"], "the token is another user's");
    assert_eq!(ask(&mut client, "whoami")["data"], json!(["ann", "ann"]));
}

#[test]
fn an_expired_token_closes() {
    let engine = serve(Auth::new(validate));
    let end = unix_time() + 4;
    let token = format!("Authorization: Bearer ann::{end}\r\n");
    let mut client = Client::of(&engine, &token);
    assert_eq!(ask(&mut client, "whoami")["code"], 200);
    assert_eq!(client.expect_close(1008), "the token has expired");
}

#[test]
fn an_expired_token_may_be_asked_for_again() {
    let serve = |grace| serve(Auth::new(validate).expiry(Expiry::Ask { grace }));
    let soon_over = || format!("Authorization: Bearer ann::{}\r\n", unix_time() + 4);
    let hear_expired = |client: &mut Client| {
        let mut asked = client.hear_json();
        assert!(asked["timestamp"].take().is_u64());
        asked
    };

    let engine = serve(Duration::from_secs(60));
    let mut client = Client::of(&engine, &soon_over());
    assert_eq!(
        hear_expired(&mut client),
        json!({"type": "auth_expired", "grace": 60, "timestamp": null})
    );
    assert_eq!(
        ask(&mut client, "whoami")["code"],
        401,
        "until there is another one"
    );
    assert_eq!(send_token(&mut client, "ann")["type"], "auth_success");
    assert_eq!(ask(&mut client, "whoami")["code"], 200);

    let engine = serve(Duration::from_millis(1500));
    let mut client = Client::of(&engine, &soon_over());
    assert_eq!(
        hear_expired(&mut client),
        json!({"type": "auth_expired", "grace": 1, "timestamp": null})
    );
    assert_eq!(client.expect_close(1008), "the token has expired");
}

#[test]
fn users_are_revoked_while_they_are_connected() {
    let auth = Auth::new(validate);
    let revocations: Revocations = auth.revocations();
    let engine = serve(auth);
    let made = unix_time() - 10;
    let old = format!("Authorization: Bearer ann:::{made}\r\n");
    let mut ann = Client::of(&engine, &old);
    let mut bob = Client::of(&engine, "Authorization: Bearer bob\r\n");
    assert_eq!(ask(&mut ann, "whoami")["code"], 200);
    revocations.revoke("ann", &engine).unwrap();
    assert_eq!(ann.expect_close(1008), "revoked");
    until("she is gone", || engine.user_len("ann") == 0);
    assert_eq!(
        refusal(&engine, &old),
        (401, "the token was revoked".to_owned())
    );
    assert_eq!(
        refusal(&engine, "Authorization: Bearer ann\r\n").0,
        401,
        "made nobody knows when"
    );
    let later = unix_time() + 100;
    Client::of(&engine, &format!("Authorization: Bearer ann:::{later}\r\n"));
    assert_eq!(ask(&mut bob, "whoami")["code"], 200);
    assert!(revocations.forget("ann"));
    assert!(!revocations.forget("ann"));
    Client::of(&engine, &old);
}

#[test]
fn revocations_are_bounded() {
    let revocations = Revocations::default();
    let engine = serve(Auth::new(validate));
    for number in 0..65_536 {
        revocations
            .revoke(&format!("user {number}"), &engine)
            .unwrap();
    }
    let full = revocations.revoke("one more", &engine);
    assert_eq!(full, Err(RevokeError::TooMany { max: 65_536 }));
    revocations.revoke("user 7", &engine).unwrap();
}

#[test]
fn rates_are_limited_and_who_goes_on_is_closed() {
    let mut router = Router::new();
    router.with(RateLimit::per_connection(0.001, 2).events(["dear"]));
    router.on("dear", |_, ()| Ok(()));
    router.on("cheap", |_, ()| Ok(()));
    let engine = serve_router(config(), router);
    let mut client = Client::of(&engine, "");
    for _ in 0..2 {
        assert_eq!(ask(&mut client, "dear")["code"], 200);
    }
    for _ in 0..15 {
        let refused = ask(&mut client, "dear");
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!(429), &json!("too many events"))
        );
        assert_eq!(ask(&mut client, "cheap")["code"], 200, "it has no limit");
    }
    assert_eq!(ask(&mut client, "dear")["code"], 429);
    assert_eq!(client.expect_close(1008), "too many events");
    let mut other = Client::of(&engine, "");
    assert_eq!(ask(&mut other, "dear")["code"], 200);
}

#[test]
fn each_limit_closes_whom_it_refuses() {
    let mut router = Router::new();
    router.with(RateLimit::per_connection(1e6, 1_000_000));
    router.with(RateLimit::per_connection(0.001, 1));
    router.on("dear", |_, ()| Ok(()));
    let engine = serve_router(config(), router);
    let mut client = Client::of(&engine, "");
    assert_eq!(ask(&mut client, "dear")["code"], 200);
    for _ in 0..16 {
        assert_eq!(ask(&mut client, "dear")["code"], 429);
    }
    assert_eq!(client.expect_close(1008), "too many events");
}

/// Each limit has buckets of its own, and what an outer one refuses costs the inner ones nothing.
#[test]
fn stacked_limits_count_by_themselves() {
    let mut router = Router::new();
    router.with(RateLimit::per_connection(0.001, 5));
    router.with(RateLimit::per_connection(0.001, 2).events(["dear"]));
    router.on("dear", |_, ()| Ok(()));
    router.on("cheap", |_, ()| Ok(()));
    let engine = serve_router(config(), router);
    let mut client = Client::of(&engine, "");
    let codes = ["dear", "dear", "dear", "cheap", "cheap", "cheap", "dear"]
        .map(|event| ask(&mut client, event)["code"].clone());
    assert_eq!(codes, [200, 200, 429, 200, 200, 429, 429]);
}

#[test]
fn users_and_addresses_share_their_rates() {
    for limit in [
        RateLimit::per_user(0.001, 3),
        RateLimit::per_address(0.001, 3),
    ] {
        let mut router = Router::new();
        router.auth(Auth::new(validate));
        router.with(limit);
        router.on("dear", |_, ()| Ok(()));
        let engine = serve_router(config().shards(2), router);
        let ann = "Authorization: Bearer ann\r\n";
        let mut devices: Vec<Client> = (0..4).map(|_| Client::of(&engine, ann)).collect();
        let codes = devices
            .iter_mut()
            .map(|device| ask(device, "dear")["code"].clone());
        let codes: Vec<Value> = codes.collect();
        assert_eq!(codes, [200, 200, 200, 429]);
    }
}

#[test]
fn what_is_sent_keeps_its_rules() {
    #[derive(serde::Deserialize)]
    struct Say {
        text: String,
    }
    impl Validate for Say {
        fn validate(&self) -> Result<(), throng::router::Invalid> {
            throng::router::Invalid::unless_chars("text", &self.text, 1..=5)
        }
    }
    let mut router = Router::new();
    router.on("say", |_, Valid(say): Valid<Say>| {
        if say.text == "no" {
            return Err(EventError::forbidden("not that"));
        }
        Ok(throng::router::escape_html(&say.text).into_owned())
    });
    let engine = serve_router(config(), router);
    let mut client = Client::of(&engine, "");
    let mut say = |text: &str| {
        let data = json!({"text": text});
        let request = json!({"type": "request", "event": "say", "request_id": "r", "data": data});
        client.text(&request.to_string());
        client.hear_json()
    };
    assert_eq!(say("<b>")["data"], "&lt;b&gt;");
    assert_eq!(say("no")["message"], "not that");
    let refused = say("too long");
    assert_eq!(refused["code"], 400);
    assert_eq!(
        refused["message"],
        "data.text: must have 1 to 5 characters, and has 8"
    );
    assert_eq!(say("right")["code"], 200);
}

mod jwt {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::{Value, json};
    use throng::router::{Jwt, JwtError, TokenError, TokenValidator};

    const NOW: u64 = 1_800_000_000;
    const SECRET: &[u8] = b"a secret of thirty-two bytes ....";

    fn claims() -> Value {
        json!({"sub": "ann", "exp": NOW + 100, "roles": ["cook"], "iat": NOW - 1})
    }

    fn sign(claims: &Value) -> String {
        let key = EncodingKey::from_secret(SECRET);
        encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut claims = claims();
        claims[name] = value.into();
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    #[test]
    fn a_token_says_who_with_which_roles_until_when() {
        let jwt = Jwt::hs256(SECRET)
            .unwrap()
            .leeway(std::time::Duration::ZERO);
        let identity = jwt.validate(&sign(&claims()), NOW).unwrap();
        assert_eq!(identity.user(), "ann");
        assert_eq!(identity.roles(), ["cook"]);
        assert_eq!(identity.expires_at(), Some(NOW + 100));
        assert_eq!(identity.issued_at(), Some(NOW - 1));
        assert_eq!(identity.claims()["exp"], NOW + 100);
        let words = sign(&with("roles", "cook waiter"));
        assert_eq!(
            jwt.validate(&words, NOW).unwrap().roles(),
            ["cook", "waiter"]
        );
        let nested = sign(&with("realm", json!({"roles": ["admin"]})));
        let jwt = jwt.roles_at("/realm/roles");
        assert_eq!(jwt.validate(&nested, NOW).unwrap().roles(), ["admin"]);
    }

    #[test]
    fn times_are_kept_to() {
        let jwt = Jwt::hs256(SECRET).unwrap();
        let outcome = |claims: Value| jwt.validate(&sign(&claims), NOW).map(|_| ());
        assert_eq!(outcome(with("exp", NOW - 59)), Ok(()), "clocks differ");
        let late = jwt.validate(&sign(&with("exp", NOW - 59)), NOW).unwrap();
        assert_eq!(late.expires_at(), Some(NOW - 59), "what the token says");
        assert_eq!(outcome(with("exp", NOW - 60)), Err(TokenError::Expired));
        assert_eq!(outcome(with("nbf", NOW + 60)), Ok(()));
        assert_eq!(outcome(with("nbf", NOW + 61)), Err(TokenError::NotYet));
        assert_eq!(outcome(with("exp", NOW as f64 + 0.5)), Ok(()));
        assert_eq!(outcome(with("exp", "soon")), Err(TokenError::Malformed));
        assert_eq!(outcome(with("exp", -1)), Err(TokenError::Malformed));
        assert_eq!(outcome(with("exp", u64::MAX)), Ok(()));
        assert_eq!(outcome(without("exp")), Err(TokenError::Malformed));
        let lasting = Jwt::hs256(SECRET).unwrap().allow_without_expiry();
        assert!(lasting.validate(&sign(&without("exp")), NOW).is_ok());
        assert_eq!(outcome(without("sub")), Err(TokenError::Malformed));
        assert_eq!(outcome(with("sub", "")), Err(TokenError::Malformed));
    }

    #[test]
    fn tokens_for_or_of_others_are_refused() {
        let jwt = Jwt::hs256(SECRET).unwrap().audience("chat").issuer("us");
        let both = |aud: Value, iss: &str| {
            let mut claims = with("aud", aud);
            claims["iss"] = json!(iss);
            jwt.validate(&sign(&claims), NOW).map(|_| ())
        };
        assert_eq!(both(json!("chat"), "us"), Ok(()));
        assert_eq!(both(json!(["mail", "chat"]), "us"), Ok(()));
        assert_eq!(both(json!("mail"), "us"), Err(TokenError::NotForUs));
        assert_eq!(both(json!("chat"), "them"), Err(TokenError::NotForUs));
        assert!(
            jwt.validate(&sign(&claims()), NOW).is_err(),
            "it says neither"
        );
        let any = Jwt::hs256(SECRET).unwrap();
        let for_others = any.validate(&sign(&with("aud", "mail")), NOW);
        assert_eq!(for_others.map(|_| ()), Err(TokenError::NotForUs));
    }

    #[test]
    fn forgeries_are_refused() {
        let jwt = Jwt::hs256(SECRET).unwrap();
        let token = sign(&claims());
        let outcome = |token: &str| jwt.validate(token, NOW).map(|_| ());
        assert_eq!(outcome(&token), Ok(()));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for forged in [
            String::new(),
            ".".repeat(3),
            "x".repeat(100_000),
            signed.to_owned(),
            format!("{signed}."),
            format!("{signed}.{}", signature.to_lowercase()),
            format!("{token}x"),
        ] {
            assert!(outcome(&forged).is_err(), "{forged}");
        }
        // `{"alg":"none"}`, and the header of ours with critical extensions.
        let (_, payload) = signed.split_once('.').unwrap();
        assert!(outcome(&format!("eyJhbGciOiJub25lIn0.{payload}.")).is_err());
        let key = EncodingKey::from_secret(b"other");
        let other = encode(&Header::default(), &claims(), &key).unwrap();
        assert_eq!(outcome(&other), Err(TokenError::Signature));
        let stronger = encode(
            &Header::new(Algorithm::HS512),
            &claims(),
            &EncodingKey::from_secret(SECRET),
        );
        assert_eq!(
            outcome(&stronger.unwrap()),
            Err(TokenError::Signature),
            "another algorithm"
        );
    }

    #[test]
    fn public_keys_verify_and_are_no_secrets() {
        let cases = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
            (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
        ];
        for (kind, algorithm) in cases {
            let pair = rcgen::KeyPair::generate_for(kind).unwrap();
            let public = pair.public_key_pem();
            let (jwt, key) = if algorithm == Algorithm::ES256 {
                let key = EncodingKey::from_ec_der(&pair.serialize_der());
                (Jwt::es256_pem(public.as_bytes()), key)
            } else {
                let key = EncodingKey::from_ed_der(&pair.serialize_der());
                (Jwt::eddsa_pem(public.as_bytes()), key)
            };
            let jwt = jwt.unwrap();
            let token = encode(&Header::new(algorithm), &claims(), &key).unwrap();
            assert_eq!(jwt.validate(&token, NOW).unwrap().user(), "ann");
            // Signed with the public key as if it were a secret.
            let confused = EncodingKey::from_secret(public.as_bytes());
            let confused = encode(&Header::new(Algorithm::HS256), &claims(), &confused).unwrap();
            assert_eq!(
                jwt.validate(&confused, NOW).map(|_| ()),
                Err(TokenError::Signature)
            );
        }
        assert!(matches!(
            Jwt::rs256_pem(b"no key"),
            Err(JwtError::Malformed(_))
        ));
        assert!(matches!(
            Jwt::es256_pem(b"no key"),
            Err(JwtError::Malformed(_))
        ));
    }

    /// RFC 7515 A.2: a token that somebody else has signed with RSA.
    #[test]
    fn the_example_of_the_rfc_verifies() {
        const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let set = json!({"keys": [{"kty": "RSA", "n": MODULUS, "e": "AQAB"}]});
        let jwt = Jwt::jwks(&set.to_string()).unwrap().issuer("joe");
        let expired = jwt.validate(TOKEN, NOW).map(|_| ());
        // It names no subject: the signature holds, and the token does not.
        assert_eq!(expired, Err(TokenError::Malformed));
        let other = MODULUS.replacen("ofg", "pfg", 1);
        let set = json!({"keys": [{"kty": "RSA", "n": other, "e": "AQAB"}]});
        let jwt = Jwt::jwks(&set.to_string()).unwrap().issuer("joe");
        assert_eq!(
            jwt.validate(TOKEN, NOW).map(|_| ()),
            Err(TokenError::Signature)
        );
    }

    fn secrets(keys: &[(&str, &str)]) -> String {
        use base64::Engine;
        let keys = keys.iter().map(|(id, secret)| {
            let secret = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(long(secret));
            json!({"kty": "oct", "kid": id, "k": secret, "alg": "HS256"})
        });
        json!({"keys": keys.collect::<Vec<_>>()}).to_string()
    }

    fn sign_by(id: Option<&str>, secret: &str) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = id.map(str::to_owned);
        encode(
            &header,
            &claims(),
            &EncodingKey::from_secret(long(secret).as_bytes()),
        )
        .unwrap()
    }

    /// A secret that is long enough.
    fn long(secret: &str) -> String {
        format!("{secret:.>32}")
    }

    #[test]
    fn a_secret_has_32_bytes() {
        let short = Jwt::hs256(&SECRET[..31]).map(|_| ());
        assert!(matches!(short, Err(JwtError::ShortSecret { bytes: 31 })));
        assert!(Jwt::hs256(&SECRET[..32]).is_ok());
        let set = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]});
        let short = Jwt::jwks(&set.to_string()).map(|_| ());
        assert!(matches!(short, Err(JwtError::ShortSecret { bytes: 6 })));
    }

    #[test]
    fn a_token_without_a_name_is_tried_with_few_keys() {
        let keys = ["one", "two", "three", "four", "five"].map(|key| (key, key));
        let jwt = Jwt::jwks(&secrets(&keys)).unwrap();
        let outcome =
            |id: Option<&str>, secret: &str| jwt.validate(&sign_by(id, secret), NOW).map(|_| ());
        assert_eq!(outcome(None, "four"), Ok(()));
        assert_eq!(outcome(None, "five"), Err(TokenError::Signature));
        assert_eq!(outcome(Some("five"), "five"), Ok(()));
    }

    /// RFC 7515 §4.1.11
    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        use base64::Engine;
        let base64 = base64::prelude::BASE64_URL_SAFE_NO_PAD;
        let jwt = Jwt::hs256(SECRET).unwrap();
        let outcome = |header: &Value| {
            let payload = base64.encode(claims().to_string());
            let signed = format!("{}.{payload}", base64.encode(header.to_string()));
            let key = EncodingKey::from_secret(SECRET);
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256);
            let token = format!("{signed}.{}", signature.unwrap());
            jwt.validate(&token, NOW).map(|_| ())
        };
        assert_eq!(outcome(&json!({"alg": "HS256"})), Ok(()));
        let critical = json!({"alg": "HS256", "crit": ["exp"], "exp": 1});
        assert_eq!(outcome(&critical), Err(TokenError::Malformed));
    }

    #[test]
    fn keys_rotate() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, secrets(&[("a", "one"), ("b", "two")])).unwrap();
        let jwt = Jwt::jwks_file(&file).unwrap();
        let outcome =
            |id: Option<&str>, secret: &str| jwt.validate(&sign_by(id, secret), NOW).map(|_| ());
        assert_eq!(outcome(Some("a"), "one"), Ok(()));
        assert_eq!(outcome(Some("b"), "two"), Ok(()));
        assert_eq!(outcome(None, "two"), Ok(()), "found by trying");
        assert_eq!(outcome(Some("a"), "two"), Err(TokenError::Signature));
        assert_eq!(outcome(Some("c"), "three"), Err(TokenError::Signature));
        std::fs::write(&file, secrets(&[("b", "two"), ("c", "three")])).unwrap();
        jwt.clone().reload().unwrap();
        assert_eq!(outcome(Some("a"), "one"), Err(TokenError::Signature));
        assert_eq!(outcome(Some("c"), "three"), Ok(()));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(matches!(jwt.reload(), Err(JwtError::Malformed(_))));
        assert_eq!(outcome(Some("c"), "three"), Ok(()), "the keys stay");
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(jwt.reload(), Err(JwtError::File { .. })));
        jwt.set_jwks(&secrets(&[("a", "one")])).unwrap();
        assert_eq!(outcome(Some("a"), "one"), Ok(()));
        let none = r#"{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}]}"#;
        assert!(matches!(jwt.set_jwks(none), Err(JwtError::NoKey)));
        let one = Jwt::hs256(SECRET).unwrap();
        assert!(matches!(one.reload(), Err(JwtError::NoFile)));
        let many: Vec<(&str, &str)> = vec![("a", "one"); 65];
        assert!(matches!(
            jwt.set_jwks(&secrets(&many)),
            Err(JwtError::TooMany { count: 65 })
        ));
        assert!(!format!("{jwt:?}").contains("one"), "no key is told");
    }
}
