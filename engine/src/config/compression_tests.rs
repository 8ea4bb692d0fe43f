use super::table::Table;
use super::*;

/// Every field, as TOML and variables write it.
const TEXTS: [(&str, &str); 7] = [
    ("server_context_takeover", "true"),
    ("client_context_takeover", "true"),
    ("server_max_window_bits", "12"),
    ("client_max_window_bits", "9"),
    ("threshold", "1024"),
    ("level", "9"),
    ("memory_level", "1"),
];

/// What [`TEXTS`] say.
fn read_texts() -> Compression {
    Compression::default()
        .server_context_takeover(true)
        .client_context_takeover(true)
        .server_max_window_bits(12)
        .client_max_window_bits(9)
        .threshold(KIB)
        .level(9)
        .memory_level(1)
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Option<Compression>, ConfigError> {
    let owned = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::default().with_variables(owned)?;
    Ok(config.compression)
}

fn from_toml(text: &str) -> Result<Option<Compression>, ConfigError> {
    Config::from_toml(text).map(|config| config.compression)
}

#[test]
fn compression_is_off_unless_asked_for() {
    assert_eq!(Config::default().compression, None);
    let compression = Compression::default();
    assert_eq!((compression.threshold, compression.level), (256, 3));
    let params = compression.params();
    assert!(params.server_no_context_takeover && params.client_no_context_takeover);
    let config = Config::default().compression(compression);
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.compression(None).compression, None);
}

#[test]
fn toml_and_the_environment_read_every_field_of_the_section() {
    let fields: Vec<&str> = TEXTS.iter().map(|(field, _)| *field).collect();
    let names: Vec<&str> = Compression::FIELDS.iter().map(|field| field.name).collect();
    assert_eq!(fields, names);

    let lines: Vec<String> = TEXTS
        .iter()
        .map(|(field, text)| format!("{field} = {text}"))
        .collect();
    let table = format!("[compression]\n{}", lines.join("\n"));
    assert_eq!(from_toml(&table), Ok(Some(read_texts())));
    let inline = format!("compression = {{ {} }}", lines.join(", "));
    assert_eq!(from_toml(&inline), Ok(Some(read_texts())));

    let names: Vec<String> = fields
        .iter()
        .map(|field| format!("THRONG_COMPRESSION_{}", field.to_uppercase()))
        .collect();
    let texts = TEXTS.iter().map(|(_, text)| *text);
    let variables: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(texts).collect();
    assert_eq!(from_variables(&variables), Ok(Some(read_texts())));

    let json = r#"{"compression": {"level": 2, "threshold": "1 KiB"}}"#;
    let config: Config = serde_json::from_str(json).unwrap();
    let expected = Compression::default().level(2).threshold(KIB);
    assert_eq!(config.compression, Some(expected));
}

#[test]
fn one_word_switches_compression() {
    let (on, level) = (
        Some(Compression::default()),
        Some(Compression::default().level(9)),
    );
    for (text, expected) in [
        ("compression = \"on\"", &on),
        ("compression = \"off\"", &None),
        ("compression = \"none\"", &None),
        ("[compression]", &on),
        ("[compression]\nlevel = 9", &level),
    ] {
        assert_eq!(from_toml(text).as_ref(), Ok(expected), "{text}");
    }
    let json: Config = serde_json::from_str(r#"{"compression": null}"#).unwrap();
    assert_eq!(json.compression, None);
    let (switch, set) = ("THRONG_COMPRESSION", ("THRONG_COMPRESSION_LEVEL", "9"));
    for (word, expected) in [("on", &level), ("off", &None)] {
        for variables in [[(switch, word), set], [set, (switch, word)]] {
            let read = from_variables(&variables);
            assert_eq!(read.as_ref(), Ok(expected), "in any order: {variables:?}");
        }
    }
    assert_eq!(from_variables(&[(switch, "on")]), Ok(on));
    let given = Config::default().compression(level.clone());
    let kept = given.with_variables([(switch.to_owned(), "on".to_owned())]);
    assert_eq!(
        kept.unwrap().compression,
        level,
        "switching on changes nothing else"
    );
}

#[test]
fn what_is_wrong_with_the_section_is_named_with_its_field() {
    for (text, message) in [
        (
            "shards = 2\n[compression]\nlevle = 1",
            "compression.levle: unknown setting (line 3)",
        ),
        (
            "[compression]\n\nlevel = \"high\"",
            "compression.level: cannot read \"high\" (line 3): expected a whole number",
        ),
        (
            "compression = \"yes\"",
            "compression: cannot read \"yes\" (line 1): expected \"on\" or \"off\"",
        ),
        (
            "compression = 7",
            "compression: cannot read 7 (line 1): invalid type: integer `7`, \
             expected \"on\", \"off\" or a table",
        ),
    ] {
        assert_eq!(from_toml(text).unwrap_err().to_string(), message);
    }
    for (name, value, message) in [
        (
            "THRONG_COMPRESSION_LEVEL",
            "high",
            "compression.level: cannot read \"high\" (variable THRONG_COMPRESSION_LEVEL): \
             expected a whole number",
        ),
        (
            "THRONG_COMPRESSION_LEVLE",
            "1",
            "compression.levle: unknown setting (variable THRONG_COMPRESSION_LEVLE)",
        ),
    ] {
        let error = from_variables(&[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn bounds_of_the_section_are_checked() {
    type Spoil = fn(Compression) -> Compression;
    let cases: [(&str, Spoil); 9] = [
        ("compression.server_max_window_bits", |c| {
            c.server_max_window_bits(8)
        }),
        ("compression.server_max_window_bits", |c| {
            c.server_max_window_bits(16)
        }),
        ("compression.client_max_window_bits", |c| {
            c.client_max_window_bits(8)
        }),
        ("compression.client_max_window_bits", |c| {
            c.client_max_window_bits(16)
        }),
        ("compression.threshold", |c| c.threshold(512 * MIB + 1)),
        ("compression.level", |c| c.level(0)),
        ("compression.level", |c| c.level(10)),
        ("compression.memory_level", |c| c.memory_level(0)),
        ("compression.memory_level", |c| c.memory_level(10)),
    ];
    for (field, spoil) in cases {
        let config = Config::default().compression(spoil(Compression::default()));
        let error = config.validate().expect_err(field);
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
        assert_eq!(error.field(), Some(field));
    }
    let error = Config::default().compression(Compression::default().level(10));
    assert_eq!(
        error.validate().unwrap_err().to_string(),
        "compression.level: 10 is out of range: must be between 1 and 9"
    );
    let drops = Config::default()
        .overflow(Overflow::DropOldest)
        .compression(Compression::default().server_context_takeover(true));
    assert_eq!(
        drops.validate().unwrap_err().to_string(),
        "compression.server_context_takeover: true must be false where overflow is drop-oldest: \
         later messages refer to the dropped"
    );
}
