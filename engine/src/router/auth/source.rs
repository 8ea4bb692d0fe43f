//! Where in an upgrade a token may be.

use std::borrow::Cow;

use crate::handler::Upgrade;

/// A place of an upgrade's request that a token is looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Bearer,
    Header(String),
    Query(String),
    Cookie(String),
    Subprotocol(String),
}

impl Source {
    /// The header `Authorization: Bearer …` (RFC 6750 §2.1).
    pub fn bearer() -> Source {
        Source(Place::Bearer)
    }

    /// A header's whole value.
    pub fn header(name: impl Into<String>) -> Source {
        Source(Place::Header(name.into()))
    }

    /// A value of the query. URLs are written to logs more readily than headers: such tokens should be
    /// short-lived.
    pub fn query(name: impl Into<String>) -> Source {
        Source(Place::Query(name.into()))
    }

    /// A cookie. Pages of other origins that are [allowed](field@crate::Config::origins) send it, too.
    pub fn cookie(name: impl Into<String>) -> Source {
        Source(Place::Cookie(name.into()))
    }

    /// Among the subprotocols that the client offers, the one behind that name, which is what it is
    /// answered: `new WebSocket(url, ["bearer", token])`. Where it offers one that the service speaks, too, it is answered that.
    pub fn subprotocol(name: impl Into<String>) -> Source {
        Source(Place::Subprotocol(name.into()))
    }

    /// The token, if there is one.
    pub(super) fn token<'a>(&self, request: &Upgrade<'a>) -> Option<Cow<'a, str>> {
        let token = match &self.0 {
            Place::Bearer => bearer(request.header("Authorization")?).map(Cow::Borrowed),
            Place::Header(name) => request.header(name).map(Cow::Borrowed),
            Place::Query(name) => request.query_value(name),
            Place::Cookie(name) => cookie(request, name).map(Cow::Borrowed),
            Place::Subprotocol(name) => {
                let mut offered = request.subprotocols();
                offered.find(|offer| offer == name)?;
                offered.next().map(Cow::Borrowed)
            }
        };
        token.filter(|token| !token.is_empty())
    }

    /// The subprotocol that a client whose token was found here is answered.
    pub(super) fn answered_subprotocol(&self) -> Option<&str> {
        match &self.0 {
            Place::Subprotocol(name) => Some(name),
            _ => None,
        }
    }
}

/// RFC 9110 §11.1: a scheme's name is the same in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start())
}

/// RFC 6265 §4.2.1
fn cookie<'a>(request: &Upgrade<'a>, name: &str) -> Option<&'a str> {
    let lines = request
        .headers()
        .filter(|(header, _)| header.eq_ignore_ascii_case("Cookie"));
    let mut pairs = lines
        .filter_map(|(_, line)| str::from_utf8(line).ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(quoted.unwrap_or(value))
}
