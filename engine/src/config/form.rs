//! How settings are written in text. TOML and the environment share these forms: a number or a
//! truth value in TOML is read as the text it would be in a variable.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserializer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Error, MapAccess, SeqAccess, Visitor};

/// What stands for `None`.
const NOTHING: [&str; 2] = ["off", "none"];
/// What stands for a section with its defaults.
pub(super) const ON: &str = "on";

const COUNT: &str = "a whole number";
const SIZE: &str = "a size such as \"512 KiB\", or a number of bytes";
const TIME: &str = "a duration such as \"25s\", \"500ms\" or \"1m 30s\"";
const PATH: &str = "the path of a file";
const FLAG: &str = "true or false";

pub(super) fn count<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    input.deserialize_any(Form {
        expects: COUNT,
        read: read_count,
    })
}

pub(super) fn optional_count<'de, D, T>(input: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    input.deserialize_any(Optional(Form {
        expects: COUNT,
        read: read_count,
    }))
}

pub(super) fn size<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    input.deserialize_any(Form {
        expects: SIZE,
        read: read_size,
    })
}

pub(super) fn optional_size<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<usize>, D::Error> {
    input.deserialize_any(Optional(Form {
        expects: SIZE,
        read: read_size,
    }))
}

pub(super) fn time<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    input.deserialize_any(Form {
        expects: TIME,
        read: read_time,
    })
}

pub(super) fn optional_time<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<Duration>, D::Error> {
    input.deserialize_any(Optional(Form {
        expects: TIME,
        read: read_time,
    }))
}

pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<PathBuf>, D::Error> {
    input.deserialize_any(Optional(Form {
        expects: PATH,
        read: |text| (!text.is_empty()).then(|| text.into()),
    }))
}

pub(super) fn flag<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    input.deserialize_any(Form {
        expects: FLAG,
        read: |text| text.parse().ok(),
    })
}

/// A section that may be switched off: a table, or one word.
pub(super) fn section<'de, D, T>(input: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    input.deserialize_any(Section(PhantomData))
}

/// A list of words; in one text they are parted by commas, and an empty text is an empty list.
pub(super) fn list<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    input.deserialize_any(List)
}

/// The words of a text parted by commas, white space around them removed.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_owned()).collect()
}

fn read_count<T: TryFrom<u64>>(text: &str) -> Option<T> {
    text.parse::<u64>().ok()?.try_into().ok()
}

fn read_size(text: &str) -> Option<usize> {
    text.parse::<ByteSize>().ok()?.as_u64().try_into().ok()
}

fn read_time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// A value written as text.
struct Form<T> {
    expects: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Form<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expects)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text.trim()).ok_or_else(|| E::custom(format_args!("expected {}", self.expects)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        self.visit_str(&flag.to_string())
    }
}

/// A value that may be [`NOTHING`].
struct Optional<T>(Form<T>);

impl<T> Visitor<'_> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or \"off\"", self.0.expects)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        if NOTHING.contains(&text.trim()) {
            return Ok(None);
        }
        let expects = self.0.expects;
        (self.0.read)(text.trim())
            .map(Some)
            .ok_or_else(|| E::custom(format_args!("expected {expects}, or \"off\"")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<T>, E> {
        self.visit_str(&number.to_string())
    }

    /// `null`, in formats that have it.
    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

struct Section<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Section<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{ON}\", \"off\" or a table")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        match text.trim() {
            ON => Ok(Some(T::default())),
            word if NOTHING.contains(&word) => Ok(None),
            _ => Err(E::custom(format_args!("expected \"{ON}\" or \"off\""))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }

    /// `null`, in formats that have it.
    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of words")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
        Ok(if text.trim().is_empty() {
            Vec::new()
        } else {
            split_list(text)
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Vec<String>, A::Error> {
        let mut list = Vec::new();
        while let Some(word) = words.next_element()? {
            list.push(word);
        }
        Ok(list)
    }
}
