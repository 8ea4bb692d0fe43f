//! Origins and hosts as headers write them.

use std::net::Ipv6Addr;

/// The value of an `Origin` header (RFC 6454 §6.1) that names one origin.
pub(super) struct Origin<'a> {
    pub(super) scheme: &'a str,
    pub(super) host: Host<&'a str>,
    /// The scheme's default port where none was given; `None` where the scheme has none.
    pub(super) port: Option<u16>,
}

impl<'a> Origin<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Origin<'a>> {
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))?;
        let Authority { host, port } = Authority::parse(rest)?;
        Some(Origin {
            scheme,
            host,
            port: port.or(default_port(scheme)),
        })
    }

    /// Whether its scheme is `http` or `https`.
    pub(super) fn is_web(&self) -> bool {
        default_port(self.scheme).is_some()
    }

    /// Whether its scheme is `https`.
    pub(super) fn is_secure(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("https")
    }

    /// Whether it has this host and port, a port left out being the default one of its scheme.
    pub(super) fn is_at<N: AsRef<str>>(&self, place: &Authority<N>) -> bool {
        self.host.is(&place.host) && self.has_port(place.port)
    }

    pub(super) fn has_port(&self, port: Option<u16>) -> bool {
        port.or(default_port(self.scheme)) == self.port
    }
}

/// The value of a `Host` header (RFC 9110 §7.2): a host, perhaps a port, and nothing else.
pub(super) struct Authority<N> {
    pub(super) host: Host<N>,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<&'a str> {
    pub(super) fn parse(text: &'a str) -> Option<Authority<&'a str>> {
        // The colons of an IPv6 address end with its bracket.
        let border = text.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match text[border..].find(':') {
            Some(colon) => (
                &text[..border + colon],
                Some(parse_port(&text[border + colon + 1..])?),
            ),
            None => (text, None),
        };
        Some(Authority {
            host: Host::parse(host)?,
            port,
        })
    }
}

/// A name (or an IPv4 address), or an IPv6 address.
#[derive(Clone)]
pub(super) enum Host<N> {
    Name(N),
    V6(Ipv6Addr),
}

impl<'a> Host<&'a str> {
    fn parse(text: &'a str) -> Option<Host<&'a str>> {
        match text.strip_prefix('[') {
            Some(literal) => literal.strip_suffix(']')?.parse().ok().map(Host::V6),
            None => is_name(text).then_some(Host::Name(text)),
        }
    }
}

impl<N: AsRef<str>> Host<N> {
    pub(super) fn is<M: AsRef<str>>(&self, other: &Host<M>) -> bool {
        match (self, other) {
            (Host::Name(ours), Host::Name(theirs)) => {
                ours.as_ref().eq_ignore_ascii_case(theirs.as_ref())
            }
            (Host::V6(ours), Host::V6(theirs)) => ours == theirs,
            _ => false,
        }
    }
}

/// RFC 3986 §3.1.
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Labels parted by dots, and perhaps the dot of the root after them. Browsers send names that
/// are not ASCII in their `xn--` form.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.strip_suffix('.')
        .unwrap_or(text)
        .split('.')
        .all(is_label)
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}
