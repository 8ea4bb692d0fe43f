//! What clients and service say to each other: JSON, told apart by its `type`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Characters of a name or of a room's name.
pub(crate) const MAX_NAME: usize = 24;
/// Bytes of what is said at once.
pub(crate) const MAX_CONTENT: usize = 4000;

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Takes a name; the first thing to be said.
    Hello { name: String },
    /// Joins a room.
    Join { room: String },
    /// Leaves a room.
    Leave { room: String },
    /// Says something in a room.
    Chat { room: String, content: String },
    /// Says something to one person.
    Private { to: String, content: String },
    /// Asks who is in a room.
    Members { room: String },
}

/// What the service says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Notice<'a> {
    /// The name is taken by you.
    Welcome { name: &'a str },
    /// Somebody, you perhaps, is in a room from now on.
    Joined { room: &'a str, name: &'a str },
    /// Somebody is not any more.
    Left {
        room: &'a str,
        name: &'a str,
        why: &'a str,
    },
    /// Somebody said something in a room.
    Chat {
        room: &'a str,
        from: &'a str,
        content: &'a str,
        timestamp: u64,
    },
    /// Somebody said something to one person.
    Private {
        from: &'a str,
        to: &'a str,
        content: &'a str,
        timestamp: u64,
    },
    /// Who is in a room.
    Members { room: &'a str, names: Vec<String> },
    /// What was asked for cannot be done.
    Error { code: &'a str, message: &'a str },
}

/// Why a request is refused: a code for programs and a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// Names of people and rooms: 1 to 24 letters, digits, `-`, `_` or spaces within.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    let length = name.chars().count();
    if (1..=MAX_NAME).contains(&length) && name.chars().all(is_plain) && name.trim() == name {
        return Ok(());
    }
    let rule = format!("a name has 1 to {MAX_NAME} letters, digits, - or _");
    Err(Refusal::new("bad_name", rule))
}

/// Something to be said: not nothing, and not too much.
pub(crate) fn check_content(content: &str) -> Result<(), Refusal> {
    match content.trim().len() {
        0 => Err(Refusal::new("empty", "there is nothing to say")),
        _ if content.len() > MAX_CONTENT => Err(Refusal::new(
            "too_long",
            format!("at most {MAX_CONTENT} bytes at once"),
        )),
        _ => Ok(()),
    }
}

/// Now, in seconds since 1970.
pub(crate) fn timestamp() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
