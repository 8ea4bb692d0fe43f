//! Who is measured: an engine on one of its drivers.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use throng_bench::serve::{Backend, Engine};

use crate::engine::name;

/// An engine with the driver that its sockets are on. Written as `throng uring`; the name of the
/// engine alone, if that is the driver they all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Contender {
    pub(crate) engine: Engine,
    pub(crate) backend: Backend,
}

/// What an engine runs on if nothing is said, and what peers have.
const USUAL: Backend = Backend::Poll;

impl Contender {
    /// The floor that has the same driver, if that is not the usual one.
    pub(crate) fn own_floor(self) -> Option<Self> {
        let differs = self.engine == Engine::Throng && self.backend == Backend::Uring;
        differs.then_some(Self {
            engine: Engine::Floor,
            ..self
        })
    }
}

impl From<Engine> for Contender {
    fn from(engine: Engine) -> Self {
        Self {
            engine,
            backend: USUAL,
        }
    }
}

/// Those who are to be measured: `throng` on each of the `backends`, the floor on readiness and, if
/// that is among them, on io_uring, and peers as they are. In the order of `engines`.
pub(crate) fn contenders(engines: &[Engine], backends: &[Backend]) -> Vec<Contender> {
    let each = |&engine: &Engine| {
        let on = |backend| Contender { engine, backend };
        match engine {
            Engine::Throng => backends.iter().copied().map(on).collect(),
            Engine::Floor if backends.contains(&Backend::Uring) => {
                vec![on(USUAL), on(Backend::Uring)]
            }
            _ => vec![on(USUAL)],
        }
    };
    engines.iter().flat_map(each).collect()
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, backend } = *self;
        f.write_str(&name(engine))?;
        if backend == USUAL {
            return Ok(());
        }
        write!(f, " {backend}")
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (engine, backend) = match text.split_once(' ') {
            Some((engine, backend)) => (engine, Backend::from_str(backend, false)?),
            None => (text, USUAL),
        };
        Ok(Self {
            engine: Engine::from_str(engine, false)?,
            backend,
        })
    }
}

impl From<Contender> for String {
    fn from(contender: Contender) -> Self {
        contender.to_string()
    }
}

impl TryFrom<String> for Contender {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_again() {
        for (engine, backend, text) in [
            (Engine::Throng, Backend::Poll, "throng"),
            (Engine::Throng, Backend::TokioUring, "throng tokio-uring"),
            (Engine::Floor, Backend::Uring, "floor uring"),
            (Engine::SockudoWs, Backend::Poll, "sockudo-ws"),
        ] {
            let contender = Contender { engine, backend };
            assert_eq!(contender.to_string(), text);
            assert_eq!(text.parse(), Ok(contender));
        }
        assert!("throng epoll".parse::<Contender>().is_err());
        assert!("thong".parse::<Contender>().is_err());
    }

    #[test]
    fn backends_multiply_the_engines_that_have_them() {
        let named = |engines: &[Engine], backends: &[Backend]| {
            let all = contenders(engines, backends);
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let engines = [Engine::Floor, Engine::Throng, Engine::Ws];
        assert_eq!(named(&engines, &[Backend::Poll]), ["floor", "throng", "ws"]);
        assert_eq!(
            named(&engines, &[Backend::Tokio, Backend::Uring]),
            ["floor", "floor uring", "throng tokio", "throng uring", "ws"]
        );
    }

    #[test]
    fn the_floor_of_a_driver_is_its_own() {
        let own = |text: &str| text.parse::<Contender>().unwrap().own_floor();
        assert_eq!(own("throng uring"), Some("floor uring".parse().unwrap()));
        for text in ["throng", "throng tokio", "floor uring", "ws"] {
            assert_eq!(own(text), None);
        }
    }
}
