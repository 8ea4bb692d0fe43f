//! What a source file defines, as its lines tell once rustfmt has laid them out.

use std::io;
use std::path::Path;

/// Words that an item's definition begins with, its visibility aside.
const KEYWORDS: [&str; 9] = [
    "fn", "const", "static", "struct", "enum", "trait", "type", "mod", "union",
];

/// A file of Rust source.
#[derive(Debug)]
pub(super) struct Source {
    text: String,
}

impl Source {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> io::Result<Source> {
        let text = std::fs::read_to_string(path)?;
        Ok(Source { text })
    }

    /// Whether `name` is defined: an item at any depth, or with `Type::name` one in a block
    /// of that type.
    pub(super) fn defines(&self, name: &str) -> bool {
        match name.split_once("::") {
            None => self.text.lines().any(|line| is_definition(line, name)),
            Some((block, name)) => self.defines_within(block, name),
        }
    }

    /// Whether a test of that name is run: a `fn` right behind its `#[test]`.
    pub(super) fn tests(&self, name: &str) -> bool {
        let mut is_test = false;
        for line in self.text.lines().map(str::trim) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if line.starts_with("#[ignore") {
                is_test = false;
            } else if is_definition(line, name) && is_test {
                return true;
            } else if !line.starts_with("#[") && !line.starts_with("///") {
                is_test = false;
            }
        }
        false
    }

    /// Blocks begin at the margin and end with a brace there.
    fn defines_within(&self, block: &str, name: &str) -> bool {
        let mut is_inside = false;
        for line in self.text.lines() {
            if line.starts_with(' ') {
                if is_inside && (is_definition(line, name) || is_variant(line, name)) {
                    return true;
                }
            } else if line.starts_with('}') {
                is_inside = false;
            } else if begins_block(line) {
                is_inside = words(line).any(|word| word == block) && !line.ends_with(';');
            }
        }
        false
    }
}

fn begins_block(line: &str) -> bool {
    let mut words =
        words(line).skip_while(|word| matches!(*word, "pub" | "crate" | "super" | "in"));
    matches!(words.next(), Some("impl" | "trait" | "enum" | "struct"))
}

fn is_definition(line: &str, name: &str) -> bool {
    let line = line.split("//").next().unwrap_or_default();
    words(line)
        .zip(words(line).skip(1))
        .any(|(keyword, defined)| KEYWORDS.contains(&keyword) && defined == name)
}

fn is_variant(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with([',', '(', ' ']))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            text: "\
/// fn told_of() {}
pub const LIMIT: usize = 1;

pub(crate) enum Kind {
    One,
    Two(u8),
}

impl<T: Fn()> Masking for Masks<T> {
    fn next_key(&mut self) {}
}

fn free() {}

#[cfg(test)]
mod tests {
    #[test]
    fn plain() {}

    #[test]
    #[should_panic]
    fn attributed() {}

    fn helper() {}

    #[test]
    #[ignore = \"slow\"]
    fn ignored() {}

    #[test]
    fn of_another_name() {
        fn inner() {}
    }
    // #[test]
    fn commented_out() {}
}
"
            .to_owned(),
        }
    }

    #[test]
    fn items_are_found_where_they_are_defined() {
        let source = source();
        for name in [
            "LIMIT",
            "Kind",
            "Kind::One",
            "Kind::Two",
            "Masks::next_key",
            "free",
        ] {
            assert!(source.defines(name), "{name}");
        }
        for name in [
            "told_of",
            "LIM",
            "Masks",
            "Masks::free",
            "Kind::next_key",
            "Kind::Three",
        ] {
            assert!(!source.defines(name), "{name}");
        }
    }

    #[test]
    fn tests_are_found_where_they_are_run() {
        let source = source();
        for name in ["plain", "attributed", "of_another_name"] {
            assert!(source.tests(name), "{name}");
        }
        for name in ["helper", "ignored", "inner", "commented_out", "free", "pla"] {
            assert!(!source.tests(name), "{name}");
        }
    }
}
