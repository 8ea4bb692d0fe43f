//! The grammar of what is asked for and agreed on.

use super::super::extensions::parse;

/// Whether this is a path and a query as a request's target has them: visible ASCII, without
/// fragment (RFC 6455 §3, RFC 9112 §3.2.1).
pub(super) fn is_target(target: &str) -> bool {
    target.starts_with('/')
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether this can be an origin in ASCII (RFC 6454 §6.2), `null` included.
pub(super) fn is_origin(origin: &str) -> bool {
    !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The names in a value of `Sec-WebSocket-Extensions`; `None` when there is none, or the value is
/// not as RFC 6455 §9.1 has it.
pub(super) fn extensions(value: &[u8]) -> Option<Vec<&str>> {
    let extensions = parse([value])?;
    let names = extensions.iter().map(|extension| extension.name);
    (!extensions.is_empty()).then(|| names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_extensions_rfc_6455_9_1() {
        for (value, names) in [
            ("deflate-stream", &["deflate-stream"][..]),
            (
                "mux; max-channels=4; flow-control,\tdeflate-stream",
                &["mux", "deflate-stream"],
            ),
            ("foo, , bar;baz=2", &["foo", "bar"]),
            ("foo; a=\"10\"; b = \"1\\0\"", &["foo"]),
        ] {
            assert_eq!(
                extensions(value.as_bytes()).as_deref(),
                Some(names),
                "{value}"
            );
        }
        for value in [
            "",
            ",",
            "foo bar",
            "foo;",
            "foo; =1",
            "foo; a=",
            "foo; a=\"\"",
            "foo; a=\"b,c\"",
            "foo; a=\"b c\"",
            "foo; a=\"b",
            "foo; a=\"b\\\"",
            "foo; a=\"b\\\\c\"",
            "foo; a=b=c",
            "fo\u{f6}",
            "@foo",
        ] {
            assert_eq!(extensions(value.as_bytes()), None, "{value}");
        }
        assert_eq!(extensions(b"fo\xff"), None);
    }
}
