//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1).

use std::borrow::Cow;

use super::is_token;

/// One element of the list: an extension with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Extension<'h> {
    pub(in crate::protocol) name: &'h str,
    pub(in crate::protocol) params: Vec<Param<'h>>,
}

/// A parameter and its value, quotes removed.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Param<'h> {
    pub(in crate::protocol) name: &'h str,
    pub(in crate::protocol) value: Option<Cow<'h, str>>,
}

/// The extensions of all the header's lines, in order. `None` when any of them breaks the
/// grammar: RFC 6455 §9.1 has the connection fail then.
pub(in crate::protocol) fn parse<'h>(
    lines: impl IntoIterator<Item = &'h [u8]>,
) -> Option<Vec<Extension<'h>>> {
    let mut extensions = Vec::new();
    for line in lines {
        let mut rest = Rest(std::str::from_utf8(line).ok()?);
        // Elements of a list may be empty (RFC 9110 §5.6.1).
        loop {
            if !rest.0.trim_start_matches(is_space).starts_with(',') && !rest.is_at_end() {
                extensions.push(rest.extension()?);
            }
            if rest.is_at_end() {
                break;
            }
            rest.skip(',').then_some(())?;
        }
    }
    Some(extensions)
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// What is left of a line.
struct Rest<'h>(&'h str);

impl<'h> Rest<'h> {
    fn is_at_end(&self) -> bool {
        self.0.trim_start_matches(is_space).is_empty()
    }

    /// Takes the character, and the space before it, if it comes next.
    fn skip(&mut self, character: char) -> bool {
        let after = self.0.trim_start_matches(is_space).strip_prefix(character);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    fn extension(&mut self) -> Option<Extension<'h>> {
        let name = self.token()?;
        let mut params = Vec::new();
        while self.skip(';') {
            let name = self.token()?;
            let value = if self.skip('=') {
                Some(self.value()?)
            } else {
                None
            };
            params.push(Param { name, value });
        }
        Some(Extension { name, params })
    }

    fn token(&mut self) -> Option<&'h str> {
        let text = self.0.trim_start_matches(is_space);
        let len = text.find([' ', '\t', ',', ';', '=', '"']);
        let (token, rest) = text.split_at(len.unwrap_or(text.len()));
        self.0 = rest;
        is_token(token).then_some(token)
    }

    /// A token, or a quoted string that is one once its quotes and escapes are gone.
    fn value(&mut self) -> Option<Cow<'h, str>> {
        if !self.skip('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut characters = self.0.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                character => value.push(character),
            }
        }
        self.0 = characters.as_str();
        is_token(&value).then_some(Cow::Owned(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The extensions of the lines, written in one way.
    fn shown(lines: &[&str]) -> Option<Vec<String>> {
        let extensions = parse(lines.iter().map(|line| line.as_bytes()))?;
        let show = |param: &Param<'_>| match &param.value {
            Some(value) => format!(";{}={value}", param.name),
            None => format!(";{}", param.name),
        };
        let show = |extension: &Extension<'_>| {
            let params: String = extension.params.iter().map(show).collect();
            format!("{}{params}", extension.name)
        };
        Some(extensions.iter().map(show).collect())
    }

    #[test]
    fn lists_of_extensions_rfc_6455_9_1() {
        let cases: [(&[&str], &[&str]); 10] = [
            (&[], &[]),
            (&["", " , ,"], &[]),
            (&["a"], &["a"]),
            (&["a, b", "c"], &["a", "b", "c"]),
            (&["a;x=1;y"], &["a;x=1;y"]),
            (&[" a ; x = 1 ; y ,\tb"], &["a;x=1;y", "b"]),
            (&["a; x=\"10\""], &["a;x=10"]),
            (&["a; x=\"1\\0\" , b"], &["a;x=10", "b"]),
            (&[",a,,b,"], &["a", "b"]),
            (&["a;x;x=2"], &["a;x;x=2"]),
        ];
        for (lines, expected) in cases {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(shown(lines), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_refused_rfc_6455_9_1() {
        for line in [
            ";",
            "a;",
            "a;;x",
            "a b",
            "a; x=",
            "a; =1",
            "a; x=1 2",
            "a=1",
            "a; x=\"1",
            "a; x=\"\"",
            "a; x=\"1 2\"",
            "a; x=\"1,2\"",
            "a; x=\"1\"2",
            "a/b",
            "\"a\"",
            "a; x=\"\\",
            "é",
        ] {
            assert_eq!(shown(&[line]), None, "{line:?}");
        }
        assert_eq!(parse([&b"\xff"[..]]), None);
        assert_eq!(shown(&["a", "a;"]), None, "any line");
    }
}
