//! The macro behind [`Config`](super::Config) and its sections: one row per field.

use serde::de::DeserializeOwned;

/// Settings that are read field by field.
pub(super) trait Table: Default + DeserializeOwned {
    /// All fields.
    const FIELDS: &'static [Field];

    /// Takes the named field over from `other`.
    fn adopt(&mut self, field: &str, other: Self);
}

/// A field's names.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// With the section that it is in, as errors tell it.
    pub(super) path: &'static str,
}

/// Declares the settings, one row per field:
///
/// ```text
/// pub struct Name at "section." {
///     /// Documentation.
///     #[attributes of the field]
///     pub field: Type = default, within bound, set from Given => conversion;
/// }
/// ```
///
/// `within` and `set` may be left out. From the rows come the struct, its `Default`, a setter per
/// field (which takes `Type`, or `Given` put through `conversion`), its [`Table`], and
/// `check_bounds`. What follows `at` comes before the fields' names in errors.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $Config:ident at $path:literal {$(
            $(#[$attribute:meta])*
            pub $field:ident: $Type:ty = $default:expr
                $(, within $bound:expr)?
                $(, set from $Given:ty => $conversion:expr)?;
        )*}
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct $Config {
            $($(#[$attribute])* pub $field: $Type,)*
        }

        impl Default for $Config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// One setter per field.
        impl $Config {
            $($crate::config::table::setter! { $field: $Type $(, from $Given => $conversion)? })*
        }

        impl $crate::config::table::Table for $Config {
            const FIELDS: &'static [$crate::config::table::Field] = &[$(
                $crate::config::table::Field {
                    name: stringify!($field),
                    path: concat!($path, stringify!($field)),
                },
            )*];

            fn adopt(&mut self, field: &str, other: Self) {
                match field {
                    $(stringify!($field) => self.$field = other.$field,)*
                    _ => {}
                }
            }
        }

        impl $Config {
            /// Checks each field that has a bound, in the order of the rows.
            pub(crate) fn check_bounds(&self) -> Result<(), $crate::config::ConfigError> {
                $($($bound.check(concat!($path, stringify!($field)), self.$field)?;)?)*
                Ok(())
            }
        }
    };
}

/// The setter of one field.
macro_rules! setter {
    ($field:ident: $Type:ty) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $Type) -> Self {
            self.$field = $field;
            self
        }
    };
    ($field:ident: $Type:ty, from $Given:ty => $conversion:expr) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](field@Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $Given) -> Self {
            self.$field = $conversion($field);
            self
        }
    };
}

pub(super) use {setter, settings};
