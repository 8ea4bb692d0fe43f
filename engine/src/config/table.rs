//! The macro behind [`Config`](super::Config): one row per field.

/// Declares the settings, one row per field:
///
/// ```text
/// /// Documentation.
/// #[attributes of the field]
/// pub field: Type = default, within bound, set from Given => conversion;
/// ```
///
/// `within` and `set` may be left out. From the rows come the struct, its `Default`, a setter per
/// field (which takes `Type`, or `Given` put through `conversion`), the list of names, and
/// `check_bounds`.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $Config:ident {$(
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

        impl $Config {
            /// The names of all fields.
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Takes the named field over from `other`.
            fn adopt(&mut self, field: &str, other: Self) {
                match field {
                    $(stringify!($field) => self.$field = other.$field,)*
                    _ => {}
                }
            }

            /// Checks each field that has a bound, in the order of the rows.
            fn check_bounds(&self) -> Result<(), $crate::config::ConfigError> {
                $($($bound.check(stringify!($field), self.$field)?;)?)*
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
