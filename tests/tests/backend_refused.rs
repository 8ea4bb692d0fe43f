//! What becomes of an engine where the system does not let it use io_uring.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use throng::{Backend, Engine, StartError};
use throng_tests::engine::{Client, config};

const EPERM: u32 = 1;
const ENOMEM: u32 = 12;
const EINVAL: u32 = 22;
const ENOSYS: u32 = 38;
/// The same number on every architecture.
const IO_URING_SETUP: i64 = 425;

/// Calls `body` on a thread that is refused a ring with `errno`, as are the threads that it starts.
fn refused<T: Send + 'static>(errno: u32, body: impl FnOnce() -> T + Send + 'static) -> T {
    let refused = thread::spawn(move || {
        let filter = SeccompFilter::new(
            BTreeMap::from([(IO_URING_SETUP, Vec::new())]),
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

#[test]
fn auto_goes_on_by_readiness() {
    for errno in [EPERM, ENOSYS, EINVAL, ENOMEM] {
        let engine = refused(errno, || start(Backend::Auto).unwrap());
        assert_eq!(engine.backend(), Backend::Poll);
        let mut client = Client::connect(engine.local_addr().unwrap());
        assert_eq!(client.ask("still here?"), "still here?");
    }
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
