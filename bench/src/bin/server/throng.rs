//! The engine of this workspace as a server.

use throng::{
    Accept, Backend, Config, Conn, Engine, Handler, Message, Reject, Upgrade,
};

use crate::{Error, Scenario, Settings, announce};

const ROOM: &str = "room";

/// Sends each message to everybody, the sender included.
struct Room;

impl Handler for Room {
    type State = ();

    fn on_upgrade(&self, _: &Upgrade<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&self, conn: &mut Conn<'_, ()>) {
        if let Err(error) = conn.join(ROOM) {
            conn.close(1011.into(), &error.to_string());
        }
    }

    fn on_message(&self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        conn.to(ROOM).message(message).publish();
    }
}

/// Serves until the engine ends.
pub(crate) fn serve(settings: &Settings) -> Result<(), Error> {
    let backend = match settings.backend {
        crate::Backend::Auto => Backend::Auto,
        crate::Backend::Poll => Backend::Poll,
    };
    let config = Config::default().shards(settings.shards).backend(backend);
    let builder = Engine::builder().bind(settings.listen)?.config(config);
    let engine = match settings.scenario {
        Scenario::Echo => {
            let builder = builder.on_message(|conn, message| {
                conn.send(message);
            });
            builder.start()?
        }
        Scenario::Room => builder.handler(Room).start()?,
    };
    announce(engine.local_addr().unwrap_or(settings.listen))?;
    engine.wait();
    Ok(())
}
