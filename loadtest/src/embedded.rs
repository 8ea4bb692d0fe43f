//! The server side of the scenarios, by the engine of this workspace.

use std::net::SocketAddr;

use throng::{
    Accept, Builder, Config, Conn, Engine, Handler, Message, Reject, StartError, Upgrade,
};

/// What a server does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It goes back to its sender.
    Echo,
    /// It goes to every connection, the sender included.
    Room,
    /// Either, by the path that its connection asked for: from `/room` it goes to every
    /// connection of that path, from `/echo` back to its sender. There is no other path.
    Mixed,
}

/// Starts an engine that serves `service` on `address`. Pages of any origin may connect: the
/// server is there to be measured.
///
/// # Errors
/// As [`throng::Builder::start`].
pub fn start(service: Service, address: SocketAddr, config: Config) -> Result<Engine, StartError> {
    start_as(service, Engine::builder().bind(address)?, config)
}

/// The same by a builder that knows where to listen, and what the settings do not say.
///
/// # Errors
/// As [`throng::Builder::start`].
pub fn start_as(
    service: Service,
    builder: Builder<()>,
    config: Config,
) -> Result<Engine, StartError> {
    let config = config.origins(throng::Origins::danger_allow_any_origin());
    let builder = builder.config(config);
    match service {
        Service::Echo => {
            let builder = builder.on_message(|conn, message| {
                conn.send(message);
            });
            builder.start()
        }
        Service::Room => builder.handler(Everybody).start(),
        Service::Mixed => builder.handler(ByPath).start(),
    }
}

const ROOM: &str = "everybody";

struct Everybody;

impl Handler for Everybody {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        join(conn);
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        conn.to(ROOM).message(message).publish();
    }
}

struct ByPath;

/// What a connection of [`ByPath`] asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Member,
    Bystander,
}

impl Handler for ByPath {
    type State = Part;

    fn on_upgrade(&self, request: &Upgrade<'_>) -> Result<Accept<Part>, Reject> {
        match request.path() {
            "/room" => Ok(Accept::new(Part::Member)),
            "/echo" => Ok(Accept::new(Part::Bystander)),
            _ => Err(Reject::new(404).text("there are /room and /echo")),
        }
    }

    fn on_open(&self, conn: &mut Conn<'_, Part>) {
        if *conn.state() == Part::Member {
            join(conn);
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, Part>, message: Message<'_>) {
        match conn.state() {
            Part::Member => {
                conn.to(ROOM).message(message).publish();
            }
            Part::Bystander => {
                conn.send(message);
            }
        }
    }
}

fn join<S>(conn: &mut Conn<'_, S>) {
    if let Err(error) = conn.join(ROOM) {
        conn.close(throng::CloseCode::INTERNAL_ERROR, &error.to_string());
    }
}
