//! What the chat does with what it is told.

use throng::{Accept, Cause, Close, CloseCode, Conn, Handler, Message, Reject, Upgrade};

use crate::people::People;
use crate::protocol::{Notice, Refusal, Request, check_content, check_name, timestamp};

/// The chat.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    people: People,
}

/// What is kept for each connection.
#[derive(Debug, Default)]
pub(crate) struct User {
    /// Set by the first `hello`.
    name: Option<String>,
}

type Client<'a> = Conn<'a, User>;

impl Handler for Chat {
    type State = User;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<User>, Reject> {
        if request.path() != "/chat" {
            return Err(Reject::new(404).text("the chat is at /chat"));
        }
        Ok(Accept::new(User::default()))
    }

    fn on_message(&self, conn: &mut Client<'_>, message: Message<'_>) {
        let Some(text) = message.as_text() else {
            return conn.close(
                CloseCode::UNSUPPORTED,
                "this chat speaks JSON in text messages",
            );
        };
        let request = serde_json::from_str(text).map_err(|error| {
            conn.report_invalid();
            Refusal::new("malformed", error.to_string())
        });
        if let Err(Refusal { code, message }) =
            request.and_then(|request| self.handle(conn, request))
        {
            notify(
                conn,
                &Notice::Error {
                    code,
                    message: &message,
                },
            );
        }
    }

    fn on_close(&self, conn: &mut Client<'_>, close: &Close) {
        let Some(name) = conn.state_mut().name.take() else {
            return;
        };
        let rooms: Vec<String> = conn.rooms().map(str::to_owned).collect();
        for room in &rooms {
            self.depart(conn, &name, room, why(&close.cause));
        }
        // Last: were the name free before, others could hear that its next owner has come, and only
        // then that this one has left.
        self.people.exit(&name);
    }
}

impl Chat {
    fn handle(&self, conn: &mut Client<'_>, request: Request) -> Result<(), Refusal> {
        if let Request::Hello { name } = request {
            return self.hello(conn, name);
        }
        let name = conn.state().name.clone();
        let name = &*name.ok_or_else(|| Refusal::new("no_name", "say hello first"))?;
        match request {
            Request::Hello { .. } => {}
            Request::Join { room } => self.join(conn, name, &room)?,
            Request::Leave { room } => self.leave(conn, name, &room)?,
            Request::Chat { room, content } => {
                check_content(&content)?;
                check_member(conn, &room)?;
                let (room, content) = (&*room, &*content);
                tell(
                    conn,
                    room,
                    &Notice::Chat {
                        room,
                        from: name,
                        content,
                        timestamp: timestamp(),
                    },
                );
            }
            Request::Private { to, content } => {
                check_content(&content)?;
                let id = self.people.find(&to)?;
                let (to, content) = (&*to, &*content);
                let notice = Notice::Private {
                    from: name,
                    to,
                    content,
                    timestamp: timestamp(),
                };
                let sent = conn.to_connection(id).high().send_json(&notice);
                let receipt = sent.map_err(|error| Refusal::new("internal", error.to_string()))?;
                // What became of it on another shard is not known here.
                if receipt.queued + receipt.forwarded == 0 {
                    let message = format!("{to} did not get what you wrote");
                    return Err(Refusal::new("not_delivered", message));
                }
                if to != name {
                    notify(conn, &notice);
                }
            }
            Request::Members { room } => {
                check_member(conn, &room)?;
                let names = self.people.members(&room);
                notify(conn, &Notice::Members { room: &room, names });
            }
        }
        Ok(())
    }

    fn hello(&self, conn: &mut Client<'_>, name: String) -> Result<(), Refusal> {
        check_name(&name)?;
        if conn.state().name.is_some() {
            return Err(Refusal::new("named", "you have a name already"));
        }
        self.people.enter(&name, conn.id())?;
        notify(conn, &Notice::Welcome { name: &name });
        conn.state_mut().name = Some(name);
        Ok(())
    }

    fn join(&self, conn: &mut Client<'_>, name: &str, room: &str) -> Result<(), Refusal> {
        check_name(room)?;
        if conn.is_in(room) {
            return Ok(());
        }
        conn.join(room)
            .map_err(|limit| Refusal::new("limit", limit.to_string()))?;
        self.people.join(name, room);
        tell(conn, room, &Notice::Joined { room, name });
        notify(
            conn,
            &Notice::Members {
                room,
                names: self.people.members(room),
            },
        );
        Ok(())
    }

    fn leave(&self, conn: &mut Client<'_>, name: &str, room: &str) -> Result<(), Refusal> {
        check_member(conn, room)?;
        self.depart(conn, name, room, "");
        conn.leave(room);
        Ok(())
    }

    /// Takes somebody off a room's list, then tells its members: whoever joins meanwhile either
    /// finds the list without them or is told.
    fn depart(&self, conn: &mut Client<'_>, name: &str, room: &str, why: &str) {
        self.people.leave(name, room);
        tell(conn, room, &Notice::Left { room, name, why });
    }
}

fn check_member(conn: &Client<'_>, room: &str) -> Result<(), Refusal> {
    let refusal = || Refusal::new("not_member", format!("you are not in {room}"));
    conn.is_in(room).then_some(()).ok_or_else(refusal)
}

/// Tells one client something.
fn notify(conn: &mut Client<'_>, notice: &Notice<'_>) {
    if let Err(error) = conn.send_json(notice) {
        tracing::error!(%error, "a notice is no JSON");
    }
}

/// Tells everybody in a room something.
fn tell(conn: &mut Client<'_>, room: &str, notice: &Notice<'_>) {
    match conn.to(room).json(notice) {
        Ok(publication) => {
            publication.publish();
        }
        Err(error) => tracing::error!(%error, "a notice is no JSON"),
    }
}

/// How somebody left, in words.
fn why(cause: &Cause) -> &'static str {
    match cause {
        Cause::PeerClosed { .. } => "left",
        Cause::PeerVanished | Cause::HeartbeatMissed => "lost the connection",
        Cause::SlowConsumer => "was too slow",
        _ => "was disconnected",
    }
}
