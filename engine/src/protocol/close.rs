//! Close frames: codes and payloads (RFC 6455 §5.5.1, §7.4).

use std::fmt;

use super::fault::Fault;
use super::frame::MAX_CONTROL_PAYLOAD;

const CODE_LEN: usize = 2;

/// Why a connection is closed, as a number (RFC 6455 §7.4 and the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server goes down, or the browser leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// Data of a type that the endpoint does not take.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// A close frame without a code was received. Never on the wire.
    pub const NO_STATUS: CloseCode = CloseCode(1005);
    /// The stream ended without a close frame. Never on the wire.
    pub const ABNORMAL: CloseCode = CloseCode(1006);
    /// Data that does not fit its type: text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// A rule of the service was broken.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message that is too big to process.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The server did not negotiate an extension that the client needs.
    pub const MANDATORY_EXTENSION: CloseCode = CloseCode(1010);
    /// The server met a condition it did not expect.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// The server restarts; clients may reconnect.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// The server is overloaded; clients should come back later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);
    /// The server is a gateway whose upstream answered badly.
    pub const BAD_GATEWAY: CloseCode = CloseCode(1014);
    /// The TLS handshake failed. Never on the wire.
    pub const TLS_HANDSHAKE: CloseCode = CloseCode(1015);

    /// Whether a close frame may carry the code: 1000–1003, 1007–1014 and 3000–4999
    /// (RFC 6455 §7.4.1, §7.4.2 and the IANA registry).
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> CloseCode {
        CloseCode(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> u16 {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

/// What a close frame with a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// A code that is valid on the wire.
    pub code: CloseCode,
    /// At most 123 bytes; empty when the peer gave none.
    pub reason: &'a str,
}

/// Reads the unmasked payload of a close frame; `None` when it is empty.
///
/// # Errors
///
/// [`Fault::InvalidClosePayload`] for a single byte, [`Fault::InvalidCloseCode`] for a code that
/// may not be sent, [`Fault::InvalidUtf8`] for a reason that is not UTF-8 (RFC 6455 §5.5.1).
pub fn parse_close(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<CODE_LEN>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Fault::InvalidClosePayload)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_valid_on_wire() {
        return Err(Fault::InvalidCloseCode(code.0));
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| Fault::InvalidUtf8)?;
    Ok(Some(CloseFrame { code, reason }))
}

/// Writes a close frame's payload and returns its length. The reason is cut to 123 bytes, at a
/// character's border.
///
/// A code that may not be sent gives an empty payload: that is how 1005 looks on the wire
/// (RFC 6455 §7.1.5), and 1006 and 1015 must not be on it.
pub fn write_close(out: &mut [u8; MAX_CONTROL_PAYLOAD], code: CloseCode, reason: &str) -> usize {
    if !code.is_valid_on_wire() {
        return 0;
    }
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_PAYLOAD - CODE_LEN)];
    let len = CODE_LEN + reason.len();
    out[..CODE_LEN].copy_from_slice(&code.0.to_be_bytes());
    out[CODE_LEN..len].copy_from_slice(reason.as_bytes());
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_valid_on_the_wire_are_those_of_rfc_6455_7_4_and_the_registry() {
        let valid = |code| CloseCode(code).is_valid_on_wire();
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert!(!valid(code), "{code}");
        }
        for code in (1000..=1003)
            .chain(1007..=1014)
            .chain([3000, 3999, 4000, 4999])
        {
            assert!(valid(code), "{code}");
        }
    }

    #[test]
    fn close_payloads_of_rfc_6455_5_5_1() {
        let cases = [
            (&b""[..], Ok(None)),
            (b"\x03", Err(Fault::InvalidClosePayload)),
            (b"\x03\xe8", Ok(Some((1000, "")))),
            (b"\x03\xe9bye \xe2\x82\xac", Ok(Some((1001, "bye €")))),
            (b"\x0f\xa0", Ok(Some((4000, "")))),
            (b"\x03\xed", Err(Fault::InvalidCloseCode(1005))),
            (b"\x00\x00", Err(Fault::InvalidCloseCode(0))),
            (b"\x03\xe8\xe2\x82", Err(Fault::InvalidUtf8)),
        ];
        for (payload, expected) in cases {
            let read = parse_close(payload);
            let read = read.map(|frame| frame.map(|frame| (u16::from(frame.code), frame.reason)));
            assert_eq!(read, expected, "{payload:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = [0; MAX_CONTROL_PAYLOAD];
        for reason in ["", "slow consumer", &"x".repeat(123)] {
            let len = write_close(&mut out, CloseCode::POLICY, reason);
            let read = parse_close(&out[..len]).unwrap().unwrap();
            assert_eq!(
                read,
                CloseFrame {
                    code: CloseCode::POLICY,
                    reason
                }
            );
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = [0; MAX_CONTROL_PAYLOAD];
        for (character, kept) in [("x", 123), ("é", 122), ("€", 123), ("🦀", 120)] {
            let len = write_close(&mut out, CloseCode::NORMAL, &character.repeat(124));
            let read = parse_close(&out[..len]).unwrap().unwrap();
            assert_eq!(read.reason, character.repeat(kept / character.len()));
        }
    }

    #[test]
    fn codes_that_may_not_be_sent_leave_the_payload_empty() {
        let mut out = [0; MAX_CONTROL_PAYLOAD];
        for code in [
            CloseCode::NO_STATUS,
            CloseCode::ABNORMAL,
            CloseCode::TLS_HANDSHAKE,
        ] {
            assert_eq!(write_close(&mut out, code, "reason"), 0);
        }
    }
}
