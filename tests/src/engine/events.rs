//! Engines that run routers, and what clients say to them.

use serde_json::{Value, json};
use throng::router::Codec;
use throng::{Config, Engine, Router};

use super::{Client, Heard};

/// Starts an engine that runs a router, on a port of the system's choice.
pub fn serve_router<S: Send + 'static, C: Codec>(config: Config, router: Router<S, C>) -> Engine {
    let builder = Engine::builder().bind("127.0.0.1:0").unwrap();
    let builder = builder.config(config).router(router).unwrap();
    builder.start().unwrap()
}

/// A request in the standard style, whose name is `r`.
pub fn request_of(event: &str, data: &Value) -> String {
    json!({"type": "request", "event": event, "request_id": "r", "data": data}).to_string()
}

impl Client {
    /// A connection to that engine, asked for with further lines of headers.
    pub fn of(engine: &Engine, further: &str) -> Client {
        Client::connect_with(engine.local_addr().unwrap(), further)
    }

    /// The next message, which is JSON, that is no notice of presence.
    pub fn hear_json(&mut self) -> Value {
        loop {
            let Heard::Text(text) = self.hear() else {
                panic!("no text");
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["event"] != "presence" {
                return value;
            }
        }
    }

    /// Sends a request, and returns what is heard next.
    pub fn request(&mut self, event: &str, data: &Value) -> Value {
        self.text(&request_of(event, data));
        self.hear_json()
    }
}
