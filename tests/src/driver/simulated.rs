//! The fixture of the simulated network.

use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use throng_transport::sim::{Faults, Network, SimDriver, SimFar};
use throng_transport::{Listener, Socket};

use super::{Buffers, Far, Fixture, Listens, Reset};

/// What a direction holds for [`Buffers::Small`].
const SMALL: usize = 8 * 1024;

/// A network, its weather chosen by `W`.
#[derive(Debug)]
pub struct Simulated<W> {
    network: Network,
    epoch: Instant,
    ports: u16,
    weather: PhantomData<W>,
}

/// What a network does to its connections.
pub trait Weather {
    /// The chances of everything.
    fn faults() -> Faults;
}

/// Nothing fails.
#[derive(Debug)]
pub struct Calm;

impl Weather for Calm {
    fn faults() -> Faults {
        Faults::calm()
    }
}

/// Every segment is a few bytes, much is held up, and the driver is interrupted and late all the time.
/// Nothing is lost.
#[derive(Debug)]
pub struct Rough;

impl Weather for Rough {
    fn faults() -> Faults {
        Faults {
            segment: 9000,
            stalls: 50,
            stall: Duration::from_millis(5),
            interruptions: 300,
            ..Faults::calm()
        }
    }
}

impl<W: Weather> Default for Simulated<W> {
    fn default() -> Self {
        Simulated {
            network: Network::new(1, |_| W::faults()),
            epoch: Instant::now(),
            ports: 0,
            weather: PhantomData,
        }
    }
}

impl<W: Weather> Fixture for Simulated<W> {
    type Driver = SimDriver;
    type Far = SimEnd;

    fn driver(&mut self, receive_buffer: usize) -> SimDriver {
        self.network.driver(receive_buffer)
    }

    fn pair(&mut self, buffers: Buffers) -> (Socket, SimEnd) {
        let mut faults = W::faults();
        if buffers == Buffers::Small {
            faults.capacity = SMALL;
        }
        let (near, far) = self.network.pair(Some(faults));
        (near, SimEnd(far))
    }

    fn now(&self) -> Instant {
        self.epoch + self.network.now()
    }
}

impl<W: Weather> Listens for Simulated<W> {
    type Address = u16;

    fn listener(&mut self) -> (Listener, u16) {
        self.ports += 1;
        (self.network.listen(self.ports), self.ports)
    }

    fn inherited(&mut self) -> (Listener, u16) {
        self.listener()
    }

    fn held_elsewhere(&mut self) -> (Listener, u16, Box<dyn Fn()>) {
        let (listener, port) = self.listener();
        let network = self.network.clone();
        (listener, port, Box::new(move || network.shut_down(port)))
    }

    fn connect(&mut self, port: &u16) -> io::Result<SimEnd> {
        self.network.connect(*port).map(SimEnd)
    }
}

/// The far end as the suite knows it.
#[derive(Debug)]
pub struct SimEnd(SimFar);

impl io::Read for SimEnd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl io::Write for SimEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Far for SimEnd {
    fn finish(&mut self) {
        self.0.finish();
    }
}

impl Reset for SimEnd {
    fn reset(self) {
        self.0.reset();
    }
}
