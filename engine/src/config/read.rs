//! Settings from text: TOML and the environment.

use std::iter;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer};
use serde::de::{Error, IntoDeserializer};
use toml::de::DeTable;

use super::{Config, ConfigError, SettingSource};

/// What the names of variables begin with.
const PREFIX: &str = "THRONG_";

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
            let at = SettingSource::Line(line_of(text, key.span().start));
            let written = text.get(value.span()).unwrap_or_default();
            config.set::<toml::de::Error>(key.get_ref(), written, value, at, toml_reason)?;
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
    /// in `THRONG_PING_INTERVAL=10s`. Lists are parted by commas.
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
        for (name, value) in variables {
            let Some(suffix) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let field = suffix.to_ascii_lowercase();
            let at = SettingSource::Variable(name.clone());
            if suffix != field.to_ascii_uppercase() {
                return Err(ConfigError::Unknown { name, at });
            }
            let written = format!("{value:?}");
            self.set::<ValueError>(&field, &written, value.as_str(), at, ToString::to_string)?;
        }
        Ok(self)
    }

    /// Sets one field from a value in some format, `written` so in its source.
    fn set<'de, E: Error>(
        &mut self,
        name: &str,
        written: &str,
        value: impl IntoDeserializer<'de, E>,
        at: SettingSource,
        reason: fn(&E) -> String,
    ) -> Result<(), ConfigError> {
        let Some(field) = Config::FIELDS.iter().find(|field| **field == name) else {
            return Err(ConfigError::Unknown {
                name: name.to_owned(),
                at,
            });
        };
        let alone = MapDeserializer::new(iter::once((*field, value)));
        let read = Config::deserialize(alone).map_err(|error| ConfigError::Unreadable {
            field,
            value: written.to_owned(),
            at,
            reason: reason(&error),
        })?;
        self.adopt(field, read);
        Ok(())
    }
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
