//! Settings from text: TOML and the environment.

use std::iter;

use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::de::{Error, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::Table;
use super::{Config, ConfigError, SettingSource};

/// What the names of variables begin with.
const PREFIX: &str = "THRONG_";
/// The field that is a section of its own; how errors name what is in it, and variables do.
const SECTION: &str = "compression";
const SECTION_PATH: &str = "compression.";
const SECTION_VARIABLES: &str = "compression_";

impl Config {
    /// Reads settings from TOML; what the text does not name keeps its default.
    ///
    /// ```
    /// let config = throng::Config::from_toml(r#"
    ///     ping_interval = "10s"
    ///     max_message_size = "64 KiB"
    ///     origins = ["https://example.com", "https://*.example.com"]
    /// "#)?;
    /// assert_eq!(config.max_message_size, 65_536);
    /// # Ok::<(), throng::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Text that is not TOML, a key that is no setting, and a value that cannot be read, each with
    /// its line. Bounds are the business of [`validate`](Config::validate).
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        let mut config = Config::default();
        for (key, value) in table.into_inner() {
            if key.get_ref() == SECTION
                && let DeValue::Table(section) = value.get_ref()
            {
                let compression = config.compression.get_or_insert_default();
                for (key, value) in section {
                    set_from_toml(compression, SECTION_PATH, text, key, value.clone())?;
                }
            } else {
                set_from_toml(&mut config, "", text, &key, value)?;
            }
        }
        Ok(config)
    }

    /// The defaults, changed by the variables of the environment; see [`with_env`](Config::with_env).
    ///
    /// # Errors
    /// As [`with_env`](Config::with_env).
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::default().with_env()
    }

    /// Changes the settings that the environment names: `THRONG_` and the field in capitals, as
    /// in `THRONG_PING_INTERVAL=10s`. Lists are parted by commas. Those of [`Compression`](super::Compression) add its
    /// name, as in `THRONG_COMPRESSION_LEVEL=6`, and switch it on; `THRONG_COMPRESSION=off` next to
    /// them switches it off.
    ///
    /// # Errors
    /// A variable beginning with `THRONG_` that names no setting, and a value that cannot be
    /// read. Bounds are the business of [`validate`](Config::validate).
    pub fn with_env(self) -> Result<Config, ConfigError> {
        // What is not Unicode turns into replacement characters, which no setting accepts.
        self.with_variables(std::env::vars_os().map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        }))
    }

    pub(crate) fn with_variables(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut switch = None;
        for (name, value) in variables {
            let Some(suffix) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if suffix != suffix.to_ascii_uppercase() {
                let at = SettingSource::Variable(name.clone());
                return Err(ConfigError::Unknown { name, at });
            }
            let field = suffix.to_ascii_lowercase();
            if let Some(field) = field.strip_prefix(SECTION_VARIABLES) {
                let compression = self.compression.get_or_insert_default();
                set_from_variable(compression, SECTION_PATH, field, &name, &value)?;
            } else if field == SECTION {
                let mut alone = Config::default();
                set_from_variable(&mut alone, "", &field, &name, &value)?;
                switch = Some(alone.compression);
            } else {
                set_from_variable(&mut self, "", &field, &name, &value)?;
            }
        }
        // Last, so that the order of variables, which nobody chose, does not matter.
        match switch {
            Some(None) => self.compression = None,
            Some(Some(defaults)) => {
                self.compression.get_or_insert(defaults);
            }
            None => {}
        }
        Ok(self)
    }
}

/// Sets the field of a table that errors call `path`.
fn set_from_toml<'de, K: AsRef<str>>(
    table: &mut impl Table,
    path: &str,
    text: &str,
    key: &Spanned<K>,
    value: Spanned<DeValue<'de>>,
) -> Result<(), ConfigError> {
    let name = key.get_ref().as_ref();
    let at = SettingSource::Line(line_of(text, key.span().start));
    let written = text.get(value.span()).unwrap_or_default();
    set::<_, toml::de::Error>(table, (path, name), written, value, at, toml_reason)
}

fn set_from_variable(
    table: &mut impl Table,
    path: &str,
    field: &str,
    variable: &str,
    value: &str,
) -> Result<(), ConfigError> {
    let at = SettingSource::Variable(variable.to_owned());
    let written = format!("{value:?}");
    set::<_, ValueError>(
        table,
        (path, field),
        &written,
        value,
        at,
        ToString::to_string,
    )
}

/// Sets one field from a value in some format, `written` so in its source.
fn set<'de, T: Table, E: Error>(
    table: &mut T,
    (path, name): (&str, &str),
    written: &str,
    value: impl IntoDeserializer<'de, E>,
    at: SettingSource,
    reason: fn(&E) -> String,
) -> Result<(), ConfigError> {
    let Some(field) = T::FIELDS.iter().find(|field| field.name == name) else {
        let name = format!("{path}{name}");
        return Err(ConfigError::Unknown { name, at });
    };
    let alone = MapDeserializer::new(iter::once((field.name, value)));
    let read = T::deserialize(alone).map_err(|error| ConfigError::Unreadable {
        field: field.path,
        value: written.to_owned(),
        at,
        reason: reason(&error),
    })?;
    table.adopt(field.name, read);
    Ok(())
}

/// The message alone: the excerpt that `Display` adds would be one of a text of one value.
fn toml_reason(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}
