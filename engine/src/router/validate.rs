//! What fields may hold.

use std::ops::RangeInclusive;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use thiserror::Error;

/// Something that a client sends and whose fields have rules.
///
/// A handler that takes [`Valid`] of it is called with what keeps the rules only; otherwise the client is
/// answered 400 with the field and the rule.
///
/// ```
/// use serde::Deserialize;
/// use throng::Router;
/// use throng::router::{Invalid, Valid, Validate};
///
/// #[derive(Deserialize)]
/// struct Say {
///     text: String,
///     priority: u8,
/// }
///
/// impl Validate for Say {
///     fn validate(&self) -> Result<(), Invalid> {
///         Invalid::unless_chars("text", &self.text, 1..=500)?;
///         Invalid::unless_within("priority", &self.priority, 0..=9)
///     }
/// }
///
/// let mut router = Router::new();
/// router.on("say", |_, Valid(say): Valid<Say>| Ok(say.text));
/// ```
pub trait Validate {
    /// # Errors
    /// The first field that breaks a rule.
    fn validate(&self) -> Result<(), Invalid>;
}

/// What was sent, and keeps its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid<T>(pub T);

impl<'de, T: DeserializeOwned + Validate> Deserialize<'de> for Valid<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Valid<T>, D::Error> {
        let value = T::deserialize(deserializer)?;
        value
            .validate()
            .map_err(|invalid| D::Error::custom(invalid.mark()))?;
        Ok(Valid(value))
    }
}

/// A field and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    field: String,
    rule: String,
}

/// Errors of deserializers are texts alone, and none but these begins with a word joiner, which nobody sees.
const MARK: char = '\u{2060}';

impl Invalid {
    /// A field that breaks a rule: "must name a room".
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Invalid {
        Invalid {
            field: field.into(),
            rule: rule.into(),
        }
    }

    /// As the text of an error of a deserializer's, which [`Invalid::find`] knows again.
    fn mark(&self) -> String {
        format!("{MARK}{self}")
    }

    /// The field and the rule, where that is what went wrong.
    pub(super) fn find(reason: &str) -> Option<(&str, &str)> {
        reason.strip_prefix(MARK)?.split_once(": ")
    }

    /// Checks how many characters a text has.
    ///
    /// # Errors
    /// When they are too few or too many.
    pub fn unless_chars(
        field: &str,
        text: &str,
        bounds: RangeInclusive<usize>,
    ) -> Result<(), Invalid> {
        let (least, most) = (bounds.start(), bounds.end());
        let chars = text.chars().count();
        if bounds.contains(&chars) {
            return Ok(());
        }
        let rule = format!("must have {least} to {most} characters, and has {chars}");
        Err(Invalid::new(field, rule))
    }

    /// Checks a value against its bounds.
    ///
    /// # Errors
    /// When it is outside them.
    pub fn unless_within<T: PartialOrd + std::fmt::Display>(
        field: &str,
        value: &T,
        bounds: RangeInclusive<T>,
    ) -> Result<(), Invalid> {
        if bounds.contains(value) {
            return Ok(());
        }
        let (least, most) = (bounds.start(), bounds.end());
        let rule = format!("must be from {least} to {most}, and is {value}");
        Err(Invalid::new(field, rule))
    }
}

/// Makes a text safe to be put into HTML, as content or as a quoted attribute: `<`, `>`, `&`, `"` and `'` become
/// entities.
///
/// Pages that put texts where they belong by `textContent` need none of it.
///
/// ```
/// let text = throng::router::escape_html("<b>\"Tom & Jerry\"</b>");
/// assert_eq!(text, "&lt;b&gt;&quot;Tom &amp; Jerry&quot;&lt;/b&gt;");
/// ```
pub fn escape_html(text: &str) -> std::borrow::Cow<'_, str> {
    html_escape::encode_quoted_attribute(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_tell_the_field_and_the_bound() {
        let told = |outcome: Result<(), Invalid>| outcome.unwrap_err().to_string();
        assert_eq!(Invalid::unless_chars("text", "äöü", 1..=3), Ok(()));
        assert_eq!(
            told(Invalid::unless_chars("text", "", 1..=3)),
            "text: must have 1 to 3 characters, and has 0"
        );
        assert_eq!(Invalid::unless_within("age", &7, 7..=9), Ok(()));
        assert_eq!(
            told(Invalid::unless_within("age", &10, 7..=9)),
            "age: must be from 7 to 9, and is 10"
        );
    }

    #[test]
    fn what_is_escaped_is_text_everywhere() {
        let nasty = "<script>'\"&amp;</script>";
        let escaped = escape_html(nasty);
        assert!(!escaped.contains(['<', '>', '"', '\'']));
        assert_eq!(html_escape::decode_html_entities(&escaped), nasty);
    }
}
