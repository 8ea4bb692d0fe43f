//! Settings out of TOML.
//!
//! Input: the text. What is accepted is so as a section of a larger file too, and says the same
//! when it is written in another way; what is refused is so with a line that the text has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throng::{Config, ConfigError, SettingSource};

fuzz_target!(|text: &str| {
    let by_serde = toml::from_str::<Config>(text);
    match Config::from_toml(text) {
        Ok(config) => {
            assert_eq!(by_serde.as_ref(), Ok(&config), "as a section");
            match toml::from_str::<toml::Table>(text) {
                Ok(table) => {
                    let rewritten = toml::to_string(&table).expect("a table can be written");
                    assert_eq!(
                        Config::from_toml(&rewritten).as_ref(),
                        Ok(&config),
                        "{rewritten}"
                    );
                }
                // A table holds an `i64` where a setting may be a `u64`.
                Err(error) => assert!(error.message().contains("too large"), "{error}"),
            }
            if let Err(error) = config.validate() {
                assert!(
                    error
                        .field()
                        .is_some_and(|field| error.to_string().contains(field))
                );
            }
        }
        Err(error) => {
            assert!(by_serde.is_err(), "refused: {error}");
            let line = match &error {
                ConfigError::Syntax { line, .. } => *line,
                ConfigError::Unreadable {
                    at: SettingSource::Line(line),
                    ..
                }
                | ConfigError::Unknown {
                    at: SettingSource::Line(line),
                    ..
                } => *line,
                other => panic!("no line: {other}"),
            };
            assert!(line >= 1 && line <= text.split('\n').count(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
});
