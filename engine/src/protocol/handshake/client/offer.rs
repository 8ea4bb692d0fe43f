//! The grammar of what is asked for and agreed on.

use super::super::is_token;

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

/// The names in a value of `Sec-WebSocket-Extensions`; `None` when it is not as RFC 6455 §9.1 has
/// it.
///
/// Values may be quoted, but what is quoted is a token all the same, so that neither `,` nor `;`
/// can be part of it.
pub(super) fn extensions(value: &[u8]) -> Option<Vec<&str>> {
    let value = std::str::from_utf8(value).ok()?;
    let elements = value.split(',').map(trim).filter(|one| !one.is_empty());
    let names: Vec<&str> = elements.map(extension).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(names)
}

/// The name of one extension whose parameters are sound.
fn extension(element: &str) -> Option<&str> {
    let mut parts = element.split(';').map(trim);
    let name = parts.next().filter(|name| is_token(name))?;
    parts.all(is_parameter).then_some(name)
}

fn is_parameter(parameter: &str) -> bool {
    match parameter.split_once('=') {
        None => is_token(parameter),
        Some((name, value)) => is_token(trim(name)) && is_value(trim(value)),
    }
}

/// A token, quoted or not. A quoted pair stands for its second character, which no token has
/// unless it needs no quoting.
fn is_value(value: &str) -> bool {
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    match quoted {
        None => is_token(value),
        Some(inner) => {
            !inner.contains(r"\\") && !inner.ends_with('\\') && is_token(&inner.replace('\\', ""))
        }
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
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
