//! An entry of a list of origins.

use std::net::Ipv4Addr;

use super::address::{Authority, Host, Origin, is_scheme};

/// An entry of a list; it keeps its text, and matches nothing where that has no meaning.
pub(super) struct Entry {
    text: String,
    pattern: Option<Pattern>,
}

struct Pattern {
    /// `None` is `http` or `https`.
    scheme: Option<String>,
    host: HostPattern,
    /// `None` is the default port of the origin's scheme.
    port: Option<u16>,
}

enum HostPattern {
    Exactly(Host<String>),
    SubdomainsOf(String),
}

impl Entry {
    pub(super) fn new(text: String) -> Entry {
        let pattern = Pattern::parse(&text);
        Entry { text, pattern }
    }

    pub(super) fn invalid(text: String) -> Entry {
        Entry {
            text,
            pattern: None,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_valid(&self) -> bool {
        self.pattern.is_some()
    }

    pub(super) fn matches(&self, origin: &Origin<'_>) -> bool {
        self.pattern
            .as_ref()
            .is_some_and(|pattern| pattern.matches(origin))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Pattern> {
        let (scheme, place) = match text.split_once("://") {
            Some((scheme, place)) if is_scheme(scheme) => (Some(scheme.to_owned()), place),
            Some(_) => return None,
            None => (None, text),
        };
        let domain = place.strip_prefix("*.");
        let Authority { host, port } = Authority::parse(domain.unwrap_or(place))?;
        let host = match host {
            Host::Name(name) if domain.is_none() => {
                HostPattern::Exactly(Host::Name(name.to_owned()))
            }
            Host::V6(address) if domain.is_none() => HostPattern::Exactly(Host::V6(address)),
            Host::Name(name) if name.parse::<Ipv4Addr>().is_err() => {
                HostPattern::SubdomainsOf(name.to_owned())
            }
            // An address has no sub-domains.
            Host::Name(_) | Host::V6(_) => return None,
        };
        Some(Pattern { scheme, host, port })
    }

    fn matches(&self, origin: &Origin<'_>) -> bool {
        let scheme = match &self.scheme {
            Some(scheme) => scheme.eq_ignore_ascii_case(origin.scheme),
            None => origin.is_web(),
        };
        let host = match (&self.host, &origin.host) {
            (HostPattern::Exactly(host), theirs) => host.is(theirs),
            (HostPattern::SubdomainsOf(domain), Host::Name(name)) => is_subdomain(name, domain),
            (HostPattern::SubdomainsOf(_), Host::V6(_)) => false,
        };
        scheme && host && origin.has_port(self.port)
    }
}

/// Whether `name` is `domain` with labels before it.
fn is_subdomain(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.as_bytes(), domain.as_bytes());
    let Some(border) = name.len().checked_sub(domain.len() + 1) else {
        return false;
    };
    border > 0 && name[border] == b'.' && name[border + 1..].eq_ignore_ascii_case(domain)
}
