//! What is wrong with a configuration.

use std::fmt;

use thiserror::Error;

/// What is wrong with a configuration: the setting, the value given and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value beyond its bounds.
    #[error("{field}: {value} is out of range: must be between {least} and {most}")]
    OutOfRange {
        /// The setting.
        field: &'static str,
        /// What was given.
        value: String,
        /// The least value allowed.
        least: String,
        /// The greatest value allowed.
        most: String,
    },
    /// A value that is malformed, or contradicts another setting.
    #[error("{field}: {value} {rule}")]
    Invalid {
        /// The setting.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it, or what it must be.
        rule: String,
    },
    /// Text that is no value of its setting.
    #[error("{field}: cannot read {value} ({at}): {reason}")]
    Unreadable {
        /// The setting.
        field: &'static str,
        /// The text given.
        value: String,
        /// Where it was given.
        at: SettingSource,
        /// What was expected.
        reason: String,
    },
    /// A name that is no setting.
    #[error("{name}: unknown setting ({at})")]
    Unknown {
        /// The name given.
        name: String,
        /// Where it was given.
        at: SettingSource,
    },
    /// Text that is not TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Where a setting was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingSource {
    /// A line of TOML, counted from 1.
    Line(usize),
    /// A variable of the environment.
    Variable(String),
}

impl ConfigError {
    pub(crate) fn invalid(
        field: &'static str,
        value: impl Into<String>,
        rule: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Invalid {
            field,
            value: value.into(),
            rule: rule.into(),
        }
    }

    /// The setting that is wrong; for an unknown one, the name given. `None` where the text was
    /// not even TOML.
    pub fn field(&self) -> Option<&str> {
        match self {
            ConfigError::OutOfRange { field, .. }
            | ConfigError::Invalid { field, .. }
            | ConfigError::Unreadable { field, .. } => Some(field),
            ConfigError::Unknown { name, .. } => Some(name),
            ConfigError::Syntax { .. } => None,
        }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingSource::Line(line) => write!(f, "line {line}"),
            SettingSource::Variable(name) => write!(f, "variable {name}"),
        }
    }
}
