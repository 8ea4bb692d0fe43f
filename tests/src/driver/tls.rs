//! The fixture of TLS over another fixture's driver.

use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection};
use throng_transport::tls::{Credentials, Tls, TlsDriver, TlsOptions};
use throng_transport::{
    Detached, Driver, Listener, SendQueue, Sent, Service, Socket, SocketKey, Waker,
};

use super::{Buffers, Far, Fixture, Listens, PATIENCE, Record, Reset, TICK};
use crate::tls::{Authority, SERVER, server_name};

/// The one server of the suite, and what its clients trust.
static SERVER_AND_CLIENT: LazyLock<(Tls, Arc<ClientConfig>)> = LazyLock::new(|| {
    let authority = Authority::new();
    let signed = authority.sign(SERVER);
    let tls = Tls::new(Credentials::pem(&signed.certificate, &signed.key)).unwrap();
    (tls, Arc::new(authority.client(None)))
});

/// Handshakes under way at once that the fixture's drivers allow.
const MAX_HANDSHAKES: usize = 10_000;

/// TLS over the driver and the network of `F`. Pairs have done their handshakes; those who connect to
/// a listener do them as they go.
pub struct OverTls<F: Fixture> {
    under: F,
    fars: Fars<F::Far>,
}

/// All far ends of a fixture that may still be there.
type Fars<T> = Arc<Mutex<Vec<Weak<Mutex<End<T>>>>>>;

impl<F: Fixture> Default for OverTls<F> {
    fn default() -> Self {
        OverTls {
            under: F::default(),
            fars: Arc::default(),
        }
    }
}

impl<F: Fixture> OverTls<F> {
    fn far(&mut self, under: F::Far) -> TlsFar<F::Far> {
        let config = Arc::clone(&SERVER_AND_CLIENT.1);
        let client = ClientConnection::new(config, server_name()).unwrap();
        let end = Arc::new(Mutex::new(End {
            under: Some(under),
            client,
            is_finishing: false,
        }));
        self.fars.lock().unwrap().push(Arc::downgrade(&end));
        TlsFar(end)
    }
}

impl<F: Fixture> Fixture for OverTls<F> {
    type Driver = Pumping<F::Driver, F::Far>;
    type Far = TlsFar<F::Far>;

    /// A record.
    const GRAIN: usize = 16 * 1024;

    fn driver(&mut self, receive_buffer: usize) -> Self::Driver {
        let options = TlsOptions {
            receive_buffer,
            expected_sockets: 0,
            max_handshakes: MAX_HANDSHAKES,
            secures_foreign: true,
        };
        let inner = self.under.driver(receive_buffer);
        Pumping {
            inner: TlsDriver::new(inner, SERVER_AND_CLIENT.0.clone(), &options),
            fars: Arc::clone(&self.fars),
        }
    }

    fn pair(&mut self, buffers: Buffers) -> (Socket, Self::Far) {
        let (socket, under) = self.under.pair(buffers);
        let far = self.far(under);
        let mut driver = self.driver(64 * 1024);
        let key = SocketKey {
            slot: 0,
            generation: 0,
        };
        driver.adopt(key, socket).unwrap();
        let mut record = Record::new(64 * 1024);
        let begun = Instant::now();
        while far.end().client.is_handshaking() || record.secured.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "a handshake that does not end");
            far.end().exchange().unwrap();
            record.before_wait();
            driver.wait(Some(TICK), &mut record).unwrap();
        }
        loop {
            if let Some(detached) = driver.detach(key) {
                assert!(detached.undelivered.is_empty(), "nothing was said");
                return (detached.socket, far);
            }
            assert!(begun.elapsed() < PATIENCE, "tickets that are never sent");
            far.end().exchange().unwrap();
            record.before_wait();
            driver.wait(Some(TICK), &mut record).unwrap();
        }
    }

    fn now(&self) -> Instant {
        self.under.now()
    }
}

impl<F: Listens> Listens for OverTls<F> {
    type Address = F::Address;

    fn listener(&mut self) -> (Listener, F::Address) {
        self.under.listener()
    }

    fn inherited(&mut self) -> (Listener, F::Address) {
        self.under.inherited()
    }

    fn held_elsewhere(&mut self) -> (Listener, F::Address, Box<dyn Fn()>) {
        self.under.held_elsewhere()
    }

    fn connect(&mut self, address: &F::Address) -> io::Result<Self::Far> {
        let under = self.under.connect(address)?;
        Ok(self.far(under))
    }
}

/// A driver that lets the far ends write, before each wait, what they had no room for: a record is
/// whole or of no use, so that they take more than fits.
pub struct Pumping<D, T> {
    inner: TlsDriver<D>,
    fars: Fars<T>,
}

/// The far end of a TLS connection.
pub struct TlsFar<T>(Arc<Mutex<End<T>>>);

struct End<T> {
    /// `None` once it was reset.
    under: Option<T>,
    client: ClientConnection,
    is_finishing: bool,
}

impl<T: Far> End<T> {
    /// Writes records until there are none or there is no room.
    fn flush(&mut self) -> io::Result<()> {
        let Some(under) = &mut self.under else {
            return Ok(());
        };
        while self.client.wants_write() {
            self.client.write_tls(under)?;
        }
        if std::mem::take(&mut self.is_finishing) {
            under.finish();
        }
        Ok(())
    }

    /// Reads records. Whether there may be more.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(under) = &mut self.under else {
            return Ok(false);
        };
        let count = self.client.read_tls(under)?;
        let processed = self.client.process_new_packets();
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(count > 0)
    }

    /// Does what a handshake asks for, as far as it goes.
    fn exchange(&mut self) -> io::Result<()> {
        if_blocked(self.flush(), ())?;
        if_blocked(self.fill(), true)?;
        if_blocked(self.flush(), ())
    }
}

/// What is so where there is nothing, or no room.
fn if_blocked<V>(result: io::Result<V>, value: V) -> io::Result<V> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(value),
        result => result,
    }
}

impl<T> TlsFar<T> {
    fn end(&self) -> MutexGuard<'_, End<T>> {
        self.0.lock().unwrap()
    }
}

impl<T: Far> Read for TlsFar<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut end = self.end();
        if_blocked(end.flush(), ())?;
        loop {
            match end.client.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A driver that is dropped, or closes over a pending send, says no farewell.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            end.fill()?;
            if_blocked(end.flush(), ())?;
        }
    }
}

impl<T: Far> Write for TlsFar<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut end = self.end();
        if end.client.is_handshaking() {
            end.exchange()?;
            if end.client.is_handshaking() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let mut written = 0;
        for part in bytes.chunks(16 * 1024) {
            match end.flush() {
                Err(_) if written > 0 => return Ok(written),
                result => result?,
            }
            written += end.client.writer().write(part)?;
        }
        if_blocked(end.flush(), ())?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end().flush()
    }
}

impl<T: Far> Far for TlsFar<T> {
    fn finish(&mut self) {
        let mut end = self.end();
        end.client.send_close_notify();
        end.is_finishing = true;
        if_blocked(end.flush(), ()).unwrap();
    }
}

impl<T: Reset> Reset for TlsFar<T> {
    fn reset(self) {
        let under = self.end().under.take();
        under.unwrap().reset();
    }
}

impl<D: Driver, T: Far> Driver for Pumping<D, T> {
    fn listen(&mut self, listener: Listener) -> io::Result<()> {
        self.inner.listen(listener)
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }

    fn adopt(&mut self, key: SocketKey, socket: Socket) -> io::Result<()> {
        self.inner.adopt(key, socket)
    }

    fn detach(&mut self, key: SocketKey) -> Option<Detached> {
        self.inner.detach(key)
    }

    fn wait(&mut self, timeout: Option<Duration>, service: &mut impl Service) -> io::Result<()> {
        self.fars.lock().unwrap().retain(|end| {
            let Some(end) = end.upgrade() else {
                return false;
            };
            // Where the connection is lost, the test that reads or writes finds out.
            let _ = end.lock().unwrap().flush();
            true
        });
        self.inner.wait(timeout, service)
    }

    fn send(&mut self, key: SocketKey, queue: &mut SendQueue) -> Sent {
        self.inner.send(key, queue)
    }

    fn unsent(&mut self, key: SocketKey) -> usize {
        self.inner.unsent(key)
    }

    fn is_mute(&mut self, key: SocketKey) -> bool {
        self.inner.is_mute(key)
    }

    fn pause(&mut self, key: SocketKey) {
        self.inner.pause(key);
    }

    fn resume(&mut self, key: SocketKey) {
        self.inner.resume(key);
    }

    fn finish(&mut self, key: SocketKey) {
        self.inner.finish(key);
    }

    fn close(&mut self, key: SocketKey) {
        self.inner.close(key);
    }

    fn abort(&mut self, key: SocketKey) {
        self.inner.abort(key);
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}
