use super::*;

fn list(entries: &[&str]) -> Origins {
    Origins::list(entries.iter().copied())
}

#[test]
fn same_origin_compares_host_and_port() {
    let origins = Origins::same_origin();
    for (origin, host) in [
        ("https://example.com", "example.com"),
        ("https://example.com", "EXAMPLE.com:443"),
        ("HTTPS://Example.com:443", "example.com"),
        ("http://example.com", "example.com:80"),
        ("http://localhost:8080", "localhost:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"),
        ("https://[2001:DB8::1]", "[2001:db8::1]"),
    ] {
        assert!(origins.allows(Some(origin), host), "{origin} at {host}");
    }
    for (origin, host) in [
        ("https://evil.com", "example.com"),
        ("https://a.example.com", "example.com"),
        ("https://example.com.evil.com", "example.com"),
        ("http://example.com:8080", "example.com"),
        ("https://example.com", "example.com:80"),
        ("http://[::1]", "[::2]"),
        ("http://[::1]", "localhost"),
        ("capacitor://localhost", "localhost"),
        ("https://example.com", ""),
        ("https://example.com/", "example.com"),
        ("https://user@example.com", "example.com"),
        ("https://example.com:+443", "example.com"),
        ("https://example.com:65979", "example.com"),
        ("https://a.com https://example.com", "example.com"),
        ("example.com", "example.com"),
        ("://example.com", "example.com"),
        ("", ""),
        ("null", "null"),
    ] {
        assert!(!origins.allows(Some(origin), host), "{origin} at {host}");
    }
}

#[test]
fn a_list_matches_scheme_host_and_port() {
    let origins = list(&[
        "https://example.com",
        "app.test",
        "http://localhost:3000",
        "tauri://x",
    ]);
    assert_eq!(origins.check_entries(), Ok(()));
    for origin in [
        "https://example.com",
        "https://EXAMPLE.COM:443",
        "http://app.test",
        "https://app.test",
        "http://localhost:3000",
        "tauri://x",
    ] {
        assert!(origins.allows(Some(origin), "elsewhere"), "{origin}");
    }
    for origin in [
        "http://example.com",
        "https://example.com:8443",
        "https://www.example.com",
        "https://app.test:3000",
        "ftp://app.test",
        "http://localhost",
        "https://tauri",
        "https://elsewhere",
        "null",
    ] {
        assert!(!origins.allows(Some(origin), "elsewhere"), "{origin}");
    }
}

#[test]
fn a_wildcard_stands_for_whole_labels() {
    let origins = list(&["https://*.example.com", "*.test:8080"]);
    assert_eq!(origins.check_entries(), Ok(()));
    for origin in [
        "https://a.example.com",
        "https://a.b.Example.Com",
        "http://x.test:8080",
        "https://x.test:8080",
    ] {
        assert!(origins.allows(Some(origin), "h"), "{origin}");
    }
    for origin in [
        "https://example.com",
        "https://evilexample.com",
        "https://.example.com",
        "https://a.example.com.evil.com",
        "http://a.example.com",
        "http://x.test",
        "http://[::1]:8080",
    ] {
        assert!(!origins.allows(Some(origin), "h"), "{origin}");
    }
}

#[test]
fn entries_without_meaning_are_refused_and_allow_nothing() {
    for entry in [
        "",
        "*",
        "*.",
        "https://*",
        "https://a.*.com",
        "https://*example.com",
        "*.*.example.com",
        "*.127.0.0.1",
        "*.[::1]",
        "https://example.com/path",
        "https://user@example.com",
        "https://example.com:port",
        "1x://example.com",
        "a b",
        "exämple.com",
        "[::1",
        "::1",
        "same-origin",
        "danger-allow-any-origin",
    ] {
        let origins = list(&["https://good.com", entry]);
        let error = origins.check_entries().expect_err(entry);
        assert_eq!(error.field(), Some("origins"));
        assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        assert!(!origins.allows(Some("https://a.example.com"), "h"));
        assert!(!origins.allows(Some(entry), entry), "{entry}");
    }
    let many = Origins::list((0..=MAX_ENTRIES).map(|n| format!("h{n}.com")));
    assert!(many.check_entries().is_err());
}

#[test]
fn what_is_no_browser_is_allowed() {
    for origins in [
        Origins::same_origin(),
        list(&[]),
        Origins::check(|_, _| false),
        Origins::default(),
    ] {
        assert!(origins.allows(None, "example.com"), "{origins:?}");
        assert!(!origins.allows(Some("null"), "example.com"), "{origins:?}");
    }
}

#[test]
fn a_function_sees_both_headers_and_any_origin_sees_none() {
    let origins = Origins::check(|origin, host| (origin, host) == ("null", "example.com"));
    assert!(origins.allows(Some("null"), "example.com"));
    assert!(!origins.allows(Some("null"), "example.org"));
    assert!(Origins::danger_allow_any_origin().allows(Some("null"), "example.com"));
    assert_eq!(origins, origins.clone());
    assert_ne!(origins, Origins::check(|_, _| true));
}
