//! What becomes of an engine where the system does not let it use io_uring.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use throng::{Backend, Engine, StartError};
use throng_tests::engine::{Client, config};
use throng_transport::uring::{UringDriver, UringOptions};

const EPERM: u32 = 1;
const ENOMEM: u32 = 12;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;
/// The same numbers on every architecture.
const IO_URING_SETUP: i64 = 425;
const IO_URING_ENTER: i64 = 426;

/// Calls `body` on a thread that is refused a ring with `errno`, as are the threads that it starts.
fn refused<T: Send + 'static>(errno: u32, body: impl FnOnce() -> T + Send + 'static) -> T {
    without(IO_URING_SETUP, errno, body)
}

/// Calls `body` on a thread whose system calls of that number fail, as do those of the threads that it starts.
fn without<T: Send + 'static>(
    call: i64,
    errno: u32,
    body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let refused = thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        body()
    });
    refused.join().unwrap()
}

fn start(backend: Backend) -> Result<Engine, StartError> {
    let builder = Engine::builder().bind("127.0.0.1:0")?;
    let builder = builder.config(config().backend(backend).shards(2));
    builder
        .on_message(|conn, message| {
            conn.send(message);
        })
        .start()
}

#[test]
fn a_forced_choice_that_cannot_be_had_says_why() {
    for (errno, why) in [
        (EPERM, "seccomp"),
        (ENOSYS, "this kernel has none, or a seccomp filter hides it"),
        (EINVAL, "Linux 6.1 is needed"),
        (ENOMEM, "RLIMIT_MEMLOCK"),
    ] {
        let error = refused(errno, || start(Backend::Uring).unwrap_err());
        let told = error.to_string();
        assert!(
            told.starts_with("backend uring: io_uring cannot be used: "),
            "{told}"
        );
        assert!(told.contains(why), "{errno}: {told}");
        assert!(matches!(
            error,
            StartError::Backend {
                backend: Backend::Uring,
                ..
            }
        ));
    }
}

/// What `body` logs, from `info` on.
fn logged(body: impl FnOnce()) -> String {
    let (sender, lines) = channel();
    let writer = move || Line(sender.clone());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, body);
    lines.try_iter().collect()
}

/// Sends what is written to it.
struct Line(Sender<String>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(String::from_utf8_lossy(bytes).into()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn auto_says_why_and_goes_on_by_readiness() {
    for (errno, why) in [
        (EPERM, "seccomp"),
        (ENOSYS, "hides it"),
        (EINVAL, "Linux 6.1 is needed"),
        (ENOMEM, "RLIMIT_MEMLOCK"),
    ] {
        refused(errno, move || {
            let mut engine = None;
            let log = logged(|| engine = Some(start(Backend::Auto).unwrap()));
            assert_eq!(log.lines().count(), 1, "{log}");
            assert!(log.contains("shards run on readiness"), "{log}");
            assert!(log.contains(why), "{log}");
            let engine = engine.unwrap();
            assert_eq!(engine.backend(), Backend::Poll);
            let mut client = Client::connect(engine.local_addr().unwrap());
            assert_eq!(client.ask("still here?"), "still here?");
        });
    }
}

/// A filter may let a ring be made and not let it be used.
#[test]
fn a_ring_that_cannot_be_entered_is_none() {
    let told = without(IO_URING_ENTER, EPERM, || start(Backend::Uring).unwrap_err());
    assert!(told.to_string().contains("seccomp"), "{told}");
    let engine = without(IO_URING_ENTER, EPERM, || start(Backend::Auto).unwrap());
    assert_eq!(engine.backend(), Backend::Poll);
}

#[test]
fn auto_is_io_uring_where_the_system_has_all_of_it() {
    let options = UringOptions {
        receive_buffer: 4096,
        expected_sockets: 1,
        requests: 2,
        epoch: Instant::now(),
    };
    let expected = match UringDriver::new(&options) {
        Ok(driver) if driver.has_everything() => Backend::Uring,
        _ => Backend::Poll,
    };
    let engine = start(Backend::Auto).unwrap();
    assert_eq!(engine.backend(), expected);
    let mut client = Client::connect(engine.local_addr().unwrap());
    assert_eq!(client.ask("on what?"), "on what?");
}

#[test]
fn an_engine_tells_what_it_runs_on() {
    for backend in [Backend::Poll, Backend::Uring] {
        let engine = start(backend).unwrap();
        assert_eq!(engine.backend(), backend);
        let mut client = Client::connect(engine.local_addr().unwrap());
        assert_eq!(client.ask("and here?"), "and here?");
    }
}
