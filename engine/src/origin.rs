//! Which web pages may connect.
//!
//! Browsers let any page open a WebSocket to any server and send the user's cookies along; the
//! `Origin` header tells the pages apart (RFC 6455 §10.2). A client that is no browser need send
//! none and could send any: this protects users, not the server.

mod address;
mod entry;

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::config::{ConfigError, split_list};

use address::{Authority, Origin};
use entry::Entry;

/// Entries of one list.
const MAX_ENTRIES: usize = 1024;

const SAME_ORIGIN: &str = "same-origin";
const ANY_ORIGIN: &str = "danger-allow-any-origin";

/// Which web origins may connect; by default the engine's own.
///
/// ```
/// use throng::Origins;
///
/// let origins = Origins::list(["https://example.com", "https://*.example.com"]);
/// assert!(origins.allows(Some("https://chat.example.com"), "ws.example.net"));
/// assert!(!origins.allows(Some("https://evilexample.com"), "ws.example.net"));
/// assert!(!Origins::same_origin().allows(Some("https://example.com"), "ws.example.net"));
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Origins(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    SameOrigin,
    List(Arc<[Entry]>),
    Check(Arc<Check>),
    #[cfg(feature = "admin")]
    OwnOr(Arc<Rule>),
    Any,
}

type Check = dyn Fn(&str, &str) -> bool + Send + Sync;

impl Origins {
    /// Pages of the host and port that they connect to, by `http` or `https`; where the engine speaks
    /// TLS, by `https` alone.
    ///
    /// Host and port of the origin are compared with those of the request's `Host`; a port left
    /// out is the default one of the origin's scheme. Behind a proxy that rewrites `Host`, use a
    /// [`list`](Origins::list).
    pub fn same_origin() -> Origins {
        Origins(Rule::SameOrigin)
    }

    /// Pages of the origins listed. An entry is
    ///
    /// - an origin: `https://example.com`, `http://localhost:3000`, `https://[::1]:8443`;
    /// - a host, perhaps with a port: `example.com`, by `http` or `https`;
    /// - either with `*.` before the name: `https://*.example.com` is every sub-domain at any
    ///   depth, but neither `example.com` itself nor `evilexample.com`.
    ///
    /// A port left out is the default one of the scheme. An entry of any other shape allows
    /// nothing, and [`Config::validate`](crate::Config::validate) refuses it.
    pub fn list(entries: impl IntoIterator<Item: Into<String>>) -> Origins {
        Origins(Rule::List(
            entries
                .into_iter()
                .map(|entry| read_entry(entry.into()))
                .collect(),
        ))
    }

    /// What `check` says of the `Origin` and the `Host` of a request, as they were sent. It is
    /// called on the shard's thread for every upgrade with an `Origin`, and must not block. Both are
    /// the peer's, who may have written anything; a panic is answered 500, like one in
    /// [`on_upgrade`](crate::Handler::on_upgrade).
    pub fn check(check: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Origins {
        Origins(Rule::Check(Arc::new(check)))
    }

    /// Every page of the web. Any site can then act for a user who is logged in by a cookie.
    pub fn danger_allow_any_origin() -> Origins {
        Origins(Rule::Any)
    }

    /// Whether a request with this `Origin`, if it has one, to this `Host` is allowed.
    ///
    /// A request without `Origin` comes from no browser and is always allowed. `Origin: null` and
    /// whatever else is no origin is refused by [`same_origin`](Origins::same_origin) and
    /// [`list`](Origins::list).
    pub fn allows(&self, origin: Option<&str>, host: &str) -> bool {
        self.allows_on(origin, host, false)
    }

    /// The same; over TLS the engine's own origin is one of `https` alone, or whoever can change what
    /// another page says on its way could speak for this one.
    pub(crate) fn allows_on(&self, origin: Option<&str>, host: &str, is_secure: bool) -> bool {
        origin.is_none_or(|origin| self.0.allows(origin, host, is_secure))
    }

    /// These and the engine's own; that one alone where they are every page of the web.
    #[cfg(feature = "admin")]
    pub(crate) fn with_own(&self) -> Origins {
        Origins(match &self.0 {
            Rule::SameOrigin | Rule::Any => Rule::SameOrigin,
            rule => Rule::OwnOr(Arc::new(rule.clone())),
        })
    }

    /// Checks the entries of a list.
    pub(crate) fn check_entries(&self) -> Result<(), ConfigError> {
        let Rule::List(entries) = &self.0 else {
            return Ok(());
        };
        if entries.len() > MAX_ENTRIES {
            return Err(ConfigError::OutOfRange {
                field: "origins",
                value: format!("{} entries", entries.len()),
                least: "0".to_owned(),
                most: MAX_ENTRIES.to_string(),
            });
        }
        match entries.iter().find(|entry| !entry.is_valid()) {
            Some(entry) => Err(ConfigError::invalid(
                "origins",
                format!("{:?}", entry.text()),
                "must be scheme://host[:port] or host[:port], with * only as *. before a name",
            )),
            None => Ok(()),
        }
    }
}

impl Rule {
    fn allows(&self, origin: &str, host: &str, is_secure: bool) -> bool {
        match self {
            Rule::SameOrigin => match (Origin::parse(origin), Authority::parse(host)) {
                (Some(origin), Some(here)) => {
                    let is_ours = if is_secure {
                        origin.is_secure()
                    } else {
                        origin.is_web()
                    };
                    is_ours && origin.is_at(&here)
                }
                _ => false,
            },
            Rule::List(entries) => Origin::parse(origin)
                .is_some_and(|origin| entries.iter().any(|entry| entry.matches(&origin))),
            Rule::Check(check) => check(origin, host),
            #[cfg(feature = "admin")]
            Rule::OwnOr(others) => [&Rule::SameOrigin, others]
                .iter()
                .any(|rule| rule.allows(origin, host, is_secure)),
            Rule::Any => true,
        }
    }
}

/// The words that stand for a whole rule are no entries, though they look like names of hosts.
fn read_entry(text: String) -> Entry {
    match text.as_str() {
        SAME_ORIGIN | ANY_ORIGIN => Entry::invalid(text),
        _ => Entry::new(text),
    }
}

impl PartialEq for Rule {
    /// Functions are equal when they are the same one.
    fn eq(&self, other: &Rule) -> bool {
        match (self, other) {
            (Rule::SameOrigin, Rule::SameOrigin) | (Rule::Any, Rule::Any) => true,
            (Rule::List(ours), Rule::List(theirs)) => ours
                .iter()
                .map(Entry::text)
                .eq(theirs.iter().map(Entry::text)),
            (Rule::Check(ours), Rule::Check(theirs)) => Arc::ptr_eq(ours, theirs),
            #[cfg(feature = "admin")]
            (Rule::OwnOr(ours), Rule::OwnOr(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::SameOrigin => f.write_str(SAME_ORIGIN),
            Rule::List(entries) => f
                .debug_list()
                .entries(entries.iter().map(Entry::text))
                .finish(),
            Rule::Check(_) => f.write_str("check(..)"),
            #[cfg(feature = "admin")]
            Rule::OwnOr(others) => write!(f, "{SAME_ORIGIN} or {others:?}"),
            Rule::Any => f.write_str(ANY_ORIGIN),
        }
    }
}

impl<'de> Deserialize<'de> for Origins {
    /// `"same-origin"`, `"danger-allow-any-origin"`, or the entries of a list, which in one text
    /// are parted by commas.
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Origins, D::Error> {
        input.deserialize_any(Text)
    }
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Origins;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{SAME_ORIGIN}\", \"{ANY_ORIGIN}\" or a list of origins"
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Origins, E> {
        Ok(match text.trim() {
            SAME_ORIGIN => Origins::same_origin(),
            ANY_ORIGIN => Origins::danger_allow_any_origin(),
            list => Origins::list(split_list(list)),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Origins, A::Error> {
        let mut list: Vec<String> = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(Origins::list(list))
    }
}

#[cfg(test)]
mod tests;
