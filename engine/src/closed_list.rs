//! Lists of what can be the case, each with the word that stands for it in labels.

/// One of a closed list, by its place in it.
pub(crate) trait Listed: Copy + 'static {
    /// All of them, in order.
    const ALL: &'static [Self];

    /// Its place in the list.
    fn place(self) -> usize;

    /// The word for it.
    fn word(self) -> &'static str;
}

/// Declares such a list:
///
/// ```text
/// pub enum Name {
///     /// Documentation.
///     Variant = "word",
/// }
/// ```
///
/// It can be written as text (`Display`, `Serialize`): the word.
macro_rules! closed_list {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident {$(
            $(#[$attribute:meta])*
            $Variant:ident = $word:literal,
        )*}
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $Name {
            $($(#[$attribute])* $Variant,)*
        }

        impl $Name {
            /// All of them.
            pub const ALL: &'static [$Name] = &[$($Name::$Variant,)*];

            /// The word for it, as labels have it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($Name::$Variant => $word,)*
                }
            }
        }

        impl $crate::closed_list::Listed for $Name {
            const ALL: &'static [$Name] = $Name::ALL;

            fn place(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use closed_list;
