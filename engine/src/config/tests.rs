use std::str::FromStr;

use super::table::Table;
use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn from_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let owned = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::default().with_variables(owned)
}

/// A setter that takes a field out of its bounds.
type Spoil = fn(Config) -> Config;

#[test]
fn the_defaults_are_valid() {
    let config = Config::default();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(config.ping_interval, Some(seconds(25)));
    assert_eq!(config.max_message_size, 524_288);
    assert_eq!(config.overflow, Overflow::Disconnect);
    assert!(config.max_connections >= 1 && config.shards >= 1);
}

#[test]
fn setters_set_their_field() {
    let config = Config::default()
        .ping_interval(None)
        .idle_timeout(seconds(60))
        .max_rooms(7)
        .max_frame_size(Some(100))
        .backend(Backend::Poll)
        .subprotocols(["b", "a"]);
    assert_eq!(
        (config.ping_interval, config.idle_timeout),
        (None, Some(seconds(60)))
    );
    assert_eq!(
        (config.max_rooms, config.max_frame_size),
        (Some(7), Some(100))
    );
    assert_eq!(
        (config.backend, config.subprotocols),
        (Backend::Poll, vec!["b".into(), "a".into()])
    );
}

/// Every field, as TOML and as a variable write it.
const TEXTS: &[(&str, &str, &str)] = &[
    ("max_connections", "20000", "20000"),
    ("max_connections_per_ip", "9", "9"),
    ("max_handshakes", "19", "19"),
    ("proxy_protocol", "\"required\"", "required"),
    (
        "trusted_proxies",
        "[\"10.0.0.0/8\", \"unix\"]",
        "10.0.0.0/8, unix",
    ),
    ("handshake_timeout", "\"1m 30s\"", "1m 30s"),
    ("max_request_body", "\"2 MiB\"", "2MiB"),
    ("ping_interval", "\"off\"", "off"),
    ("pong_timeout", "\"500ms\"", "500ms"),
    ("idle_timeout", "\"2min\"", " 2min "),
    ("close_timeout", "\"1s\"", "1s"),
    ("write_timeout", "\"2s\"", "2s"),
    ("shards", "3", "3"),
    ("pin_shards", "true", "true"),
    ("backend", "\"poll\"", "poll"),
    ("max_message_size", "\"64 KiB\"", "64 KiB"),
    ("max_frame_size", "4096", "4096"),
    ("send_queue_messages", "12", "12"),
    ("send_queue_bytes", "\"2 MiB\"", "2MiB"),
    ("overflow", "\"drop-oldest\"", "drop-oldest"),
    ("memory_budget", "\"64 MiB\"", "64MiB"),
    ("read_buffer_size", "\"8KiB\"", "8192"),
    ("backlog", "17", "17"),
    ("tls_certificate", "\"a.pem\"", "a.pem"),
    ("tls_key", "\"a.key\"", " a.key "),
    ("tls_client_ca", "\"/b.pem\"", "/b.pem"),
    ("max_tls_handshakes", "18", "18"),
    (
        "origins",
        "[\"a.com\", \"https://*.b.com\"]",
        "a.com, https://*.b.com",
    ),
    ("subprotocols", "[\"v2\", \"v1\"]", "v2,v1"),
    ("max_rooms", "5", "5"),
    ("max_room_members", "6", "6"),
    ("max_rooms_per_connection", "\"none\"", "none"),
    ("presence", "true", "true"),
    ("batch_window", "\"5ms\"", "5ms"),
    ("batch_messages", "7", "7"),
    ("invalid_messages_per_minute", "8", "8"),
    ("mailbox_capacity", "99", "99"),
    ("max_jobs_per_connection", "98", "98"),
    ("fanout_workers", "0", "0"),
    ("fanout_threshold", "\"64 KiB\"", "65536"),
    ("metrics", "false", "false"),
    ("flight_recorder", "100", "100"),
    ("compression", "\"on\"", "on"),
];

/// What [`TEXTS`] say.
fn read_texts() -> Config {
    Config::default()
        .max_connections(20_000)
        .max_connections_per_ip(9)
        .max_handshakes(19)
        .proxy_protocol(ProxyProtocol::Required)
        .trusted_proxies(["10.0.0.0/8", "unix"])
        .handshake_timeout(seconds(90))
        .max_request_body(2 * MIB)
        .ping_interval(None)
        .pong_timeout(Duration::from_millis(500))
        .idle_timeout(seconds(120))
        .close_timeout(seconds(1))
        .write_timeout(seconds(2))
        .shards(3)
        .pin_shards(true)
        .backend(Backend::Poll)
        .max_message_size(64 * KIB)
        .max_frame_size(4096)
        .send_queue_messages(12)
        .send_queue_bytes(2 * MIB)
        .overflow(Overflow::DropOldest)
        .memory_budget(64 * MIB)
        .read_buffer_size(8 * KIB)
        .backlog(17)
        .tls_certificate(PathBuf::from("a.pem"))
        .tls_key(PathBuf::from("a.key"))
        .tls_client_ca(PathBuf::from("/b.pem"))
        .max_tls_handshakes(18)
        .origins(Origins::list(["a.com", "https://*.b.com"]))
        .subprotocols(["v2", "v1"])
        .max_rooms(5)
        .max_room_members(6)
        .max_rooms_per_connection(None)
        .presence(true)
        .invalid_messages_per_minute(8)
        .batch_window(Duration::from_millis(5))
        .batch_messages(7)
        .mailbox_capacity(99)
        .max_jobs_per_connection(98)
        .fanout_workers(0)
        .fanout_threshold(64 * KIB)
        .metrics(false)
        .flight_recorder(100)
        .compression(Compression::default())
}

#[test]
fn toml_and_the_environment_read_every_field() {
    let fields: Vec<&str> = TEXTS.iter().map(|(field, ..)| *field).collect();
    let names = |table: &[table::Field]| table.iter().map(|field| field.name).collect::<Vec<_>>();
    assert_eq!(fields, names(Config::FIELDS));

    let toml: Vec<String> = TEXTS
        .iter()
        .map(|(field, toml, _)| format!("{field} = {toml}"))
        .collect();
    assert_eq!(Config::from_toml(&toml.join("\n")), Ok(read_texts()));

    let names: Vec<String> = fields
        .iter()
        .map(|field| format!("THRONG_{}", field.to_uppercase()))
        .collect();
    let mut variables = vec![("PATH", "/bin"), ("THRONGS", "many")];
    variables.extend(
        names
            .iter()
            .map(String::as_str)
            .zip(TEXTS.iter().map(|(.., text)| *text)),
    );
    assert_eq!(from_variables(&variables), Ok(read_texts()));
}

#[test]
fn a_config_is_a_section_of_a_larger_file() {
    #[derive(serde::Deserialize)]
    struct Service {
        throng: Config,
    }
    let service: Service = toml::from_str("[throng]\nbacklog = 9").unwrap();
    assert_eq!(service.throng, Config::default().backlog(9));
    assert!(toml::from_str::<Service>("[throng]\nbaklog = 9").is_err());
    let json: Config = serde_json::from_str(r#"{"ping_interval": null, "backlog": 9}"#).unwrap();
    assert_eq!(json, Config::default().backlog(9).ping_interval(None));
}

#[test]
fn text_changes_only_what_it_names() {
    let config = Config::default().backlog(9).ping_interval(None);
    let variables = [("THRONG_SHARDS".to_owned(), "2".to_owned())];
    assert_eq!(
        config.clone().with_variables(variables),
        Ok(config.shards(2))
    );
    assert_eq!(Config::from_toml(""), Ok(Config::default()));
    for (text, origins) in [
        ("same-origin", Origins::same_origin()),
        (
            "danger-allow-any-origin",
            Origins::danger_allow_any_origin(),
        ),
        ("a.com", Origins::list(["a.com"])),
    ] {
        let expected = Config::default().origins(origins);
        assert_eq!(
            Config::from_toml(&format!("origins = {text:?}")),
            Ok(expected.clone())
        );
        assert_eq!(from_variables(&[("THRONG_ORIGINS", text)]), Ok(expected));
    }
}

#[test]
fn unreadable_toml_is_refused_with_field_value_and_line() {
    for (text, field, message) in [
        (
            "shards = 2\n\npong_timeout = \"soon\"",
            "pong_timeout",
            "pong_timeout: cannot read \"soon\" (line 3): \
             expected a duration such as \"25s\", \"500ms\" or \"1m 30s\"",
        ),
        (
            "backlog = -1",
            "backlog",
            "backlog: cannot read -1 (line 1): expected a whole number",
        ),
        (
            "ping_interval = 25",
            "ping_interval",
            "ping_interval: cannot read 25 (line 1): \
             expected a duration such as \"25s\", \"500ms\" or \"1m 30s\", or \"off\"",
        ),
        (
            "max_message_size = \"big\"",
            "max_message_size",
            "max_message_size: cannot read \"big\" (line 1): \
             expected a size such as \"512 KiB\", or a number of bytes",
        ),
        (
            "overflow = \"explode\"",
            "overflow",
            "overflow: cannot read \"explode\" (line 1): unknown variant `explode`, \
             expected one of `disconnect`, `refuse-newest`, `drop-oldest`, `conflate`",
        ),
        ("\nsharts = 2", "sharts", "sharts: unknown setting (line 2)"),
    ] {
        let error = Config::from_toml(text).unwrap_err();
        assert_eq!(
            (error.field(), error.to_string().as_str()),
            (Some(field), message)
        );
    }
    for text in [
        "subprotocols = [1]",
        "origins = 5",
        "shards = [1]",
        "shards = 1.5",
        "pin_shards = 1",
    ] {
        assert!(
            matches!(Config::from_toml(text), Err(ConfigError::Unreadable { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        Config::from_toml("shards = 2\nshards = \n"),
        Err(ConfigError::Syntax { line: 2, .. })
    ));
}

#[test]
fn unreadable_variables_are_refused_by_name() {
    let error = from_variables(&[("THRONG_SHARDS", "many")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shards: cannot read \"many\" (variable THRONG_SHARDS): expected a whole number"
    );
    for name in ["THRONG_SHARTS", "THRONG_shards", "THRONG_"] {
        let error = from_variables(&[(name, "2")]).unwrap_err();
        assert!(matches!(&error, ConfigError::Unknown { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn every_bound_is_checked() {
    let day = seconds(86_400);
    let over = day + Duration::from_nanos(1);
    let cases: &[(&str, Spoil)] = &[
        ("max_connections", |c| c.max_connections(0)),
        ("max_connections", |c| c.max_connections((1 << 24) + 1)),
        ("max_connections_per_ip", |c| c.max_connections_per_ip(0)),
        ("max_handshakes", |c| c.max_handshakes(0)),
        ("max_handshakes", |c| c.max_handshakes((1 << 24) + 1)),
        ("handshake_timeout", |c| c.handshake_timeout(Duration::ZERO)),
        ("max_request_body", |c| c.max_request_body(1024 * MIB + 1)),
        ("ping_interval", |c| c.ping_interval(Duration::ZERO)),
        ("pong_timeout", |c| c.pong_timeout(Duration::from_millis(9))),
        ("idle_timeout", |c| c.idle_timeout(Duration::MAX)),
        ("close_timeout", |c| c.close_timeout(Duration::ZERO)),
        ("write_timeout", |c| c.write_timeout(Duration::ZERO)),
        ("shards", |c| c.shards(0)),
        ("shards", |c| c.shards(MAX_SHARDS + 1)),
        ("max_message_size", |c| c.max_message_size(0)),
        ("max_message_size", |c| c.max_message_size(512 * MIB + 1)),
        ("max_frame_size", |c| c.max_frame_size(0)),
        ("send_queue_messages", |c| c.send_queue_messages(0)),
        ("send_queue_bytes", |c| c.send_queue_bytes(10)),
        ("memory_budget", |c| c.memory_budget(MIB - 1)),
        ("memory_budget", |c| c.memory_budget((1 << 48) + 1)),
        ("read_buffer_size", |c| c.read_buffer_size(4095)),
        ("read_buffer_size", |c| c.read_buffer_size(16 * MIB + 1)),
        ("backlog", |c| c.backlog(65_536)),
        ("max_tls_handshakes", |c| c.max_tls_handshakes(0)),
        ("max_rooms", |c| c.max_rooms(0)),
        ("max_room_members", |c| c.max_room_members(0)),
        ("max_rooms_per_connection", |c| {
            c.max_rooms_per_connection(0)
        }),
        ("invalid_messages_per_minute", |c| {
            c.invalid_messages_per_minute(0)
        }),
        ("batch_window", |c| c.batch_window(Duration::from_secs(2))),
        ("batch_messages", |c| c.batch_messages(0)),
        ("mailbox_capacity", |c| c.mailbox_capacity(0)),
        ("fanout_workers", |c| c.fanout_workers(65)),
        ("fanout_threshold", |c| c.fanout_threshold(512 * MIB + 1)),
    ];
    for &(field, spoil) in cases {
        let error = spoil(Config::default()).validate().expect_err(field);
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
        assert_eq!(error.field(), Some(field));
    }
    assert!(Config::default().close_timeout(over).validate().is_err());
    let extremes = Config::default()
        .close_timeout(day)
        .pong_timeout(Duration::from_millis(10));
    assert_eq!(extremes.validate(), Ok(()));
}

#[test]
fn a_value_out_of_range_is_named_with_its_bounds() {
    let message = |config: Config| config.validate().unwrap_err().to_string();
    assert_eq!(
        message(Config::default().pong_timeout(Duration::ZERO)),
        "pong_timeout: 0s is out of range: must be between 10ms and 1day"
    );
    assert_eq!(
        message(Config::default().read_buffer_size(4095)),
        "read_buffer_size: 4095 bytes is out of range: must be between 4 KiB and 16 MiB"
    );
    assert_eq!(
        message(Config::default().shards(0)),
        "shards: 0 is out of range: must be between 1 and 256"
    );
}

#[test]
fn contradictions_are_refused() {
    let cases: [(Spoil, &str); 6] = [
        (
            |c| c.ping_interval(seconds(30)).idle_timeout(seconds(29)),
            "idle_timeout: 29s must not be below ping_interval (30s)",
        ),
        (
            |c| c.max_message_size(KIB).max_frame_size(KIB + 1),
            "max_frame_size: 1025 bytes must not exceed max_message_size (1 KiB)",
        ),
        (
            |c| c.max_message_size(MIB).send_queue_bytes(MIB + 9),
            "send_queue_bytes: 1048585 bytes must hold max_message_size (1 MiB) \
             and a frame header (10 bytes)",
        ),
        (
            |c| c.shards(4).memory_budget(11 * MIB / 4 - 1),
            "memory_budget: 2883583 bytes must hold twice send_queue_bytes (1 MiB) \
             and 192 KiB for each of 4 shards",
        ),
        (
            |c| c.subprotocols(["a b"]),
            "subprotocols: \"a b\" is not a token (RFC 9110 §5.6.2)",
        ),
        (
            |c| c.subprotocols(["a", "b", "a"]),
            "subprotocols: \"a\" is named twice",
        ),
    ];
    for (spoil, message) in cases {
        assert_eq!(
            spoil(Config::default()).validate().unwrap_err().to_string(),
            message
        );
    }
    let borders = Config::default()
        .ping_interval(seconds(30))
        .idle_timeout(seconds(30))
        .max_message_size(MIB)
        .max_frame_size(MIB)
        .send_queue_bytes(MIB + 10)
        .shards(4)
        .memory_budget(2 * (MIB + 10) + 3 * MIB / 4);
    assert_eq!(borders.validate(), Ok(()));
    assert_eq!(
        borders
            .ping_interval(None)
            .idle_timeout(seconds(1))
            .validate(),
        Ok(())
    );
    let many = Config::default().subprotocols((0..65).map(|n| n.to_string()));
    assert_eq!(many.validate().unwrap_err().field(), Some("subprotocols"));
    let bad = Config::default().origins(Origins::list(["*"]));
    assert_eq!(bad.validate().unwrap_err().field(), Some("origins"));
}

#[test]
fn choices_read_what_they_write() {
    for overflow in [
        Overflow::Disconnect,
        Overflow::RefuseNewest,
        Overflow::DropOldest,
        Overflow::Conflate,
    ] {
        assert_eq!(Overflow::from_str(&overflow.to_string()), Ok(overflow));
    }
    for backend in [
        Backend::Auto,
        Backend::Poll,
        Backend::Uring,
        Backend::Tokio,
        Backend::TokioUring,
    ] {
        assert_eq!(Backend::from_str(&backend.to_string()), Ok(backend));
    }
    let error = Backend::from_str("Poll").unwrap_err();
    assert_eq!(
        error.to_string(),
        "backend: \"Poll\" must be one of: auto, poll, uring, tokio, tokio-uring"
    );
}
