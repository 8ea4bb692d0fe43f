//! Headers of the PROXY protocol, versions 1 and 2.

use std::net::IpAddr;

use ppp::{v1, v2};

use crate::limits::MAX_PROXY_HEADER;

/// Bytes of a header of version 1, its line's end included.
const MAX_LINE: usize = 107;
const LINE_PREFIX: &[u8] = b"PROXY ";
/// Bytes of a header of version 2 up to the length of its rest, that included.
const FIXED: usize = 16;

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// More is needed.
    Incomplete,
    /// The header is of that length; without an address the client is who is at the other end.
    Client {
        address: Option<IpAddr>,
        length: usize,
    },
    /// This is no header, or one that is too long.
    Malformed,
}

/// Reads the header that a connection begins with.
pub(crate) fn read_announcement(bytes: &[u8]) -> Announced {
    if is_beginning(bytes, v2::PROTOCOL_PREFIX) {
        read_binary(bytes)
    } else if is_beginning(bytes, LINE_PREFIX) {
        read_line(bytes)
    } else {
        Announced::Malformed
    }
}

/// Whether what is there agrees with the prefix.
fn is_beginning(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}

/// The parser is shown whole lines only: it takes some unfinished ones for malformed.
fn read_line(bytes: &[u8]) -> Announced {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < MAX_LINE {
            Announced::Incomplete
        } else {
            Announced::Malformed
        };
    };
    let line = &line[..=end];
    match v1::Header::try_from(line) {
        Ok(header) if header.header.len() == line.len() => Announced::Client {
            address: match header.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
                v1::Addresses::Tcp6(addresses) => {
                    Some(IpAddr::from(addresses.source_address).to_canonical())
                }
            },
            length: line.len(),
        },
        _ => Announced::Malformed,
    }
}

fn read_binary(bytes: &[u8]) -> Announced {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Announced::Incomplete;
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_PROXY_HEADER {
        return Announced::Malformed;
    }
    let Some(header) = bytes.get(..length) else {
        return Announced::Incomplete;
    };
    let Ok(header) = v2::Header::try_from(header) else {
        return Announced::Malformed;
    };
    let address = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
            Some(addresses.source_address.into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
            Some(IpAddr::from(addresses.source_address).to_canonical())
        }
        // Of the proxy itself, or of no network.
        _ => None,
    };
    Announced::Client { address, length }
}
