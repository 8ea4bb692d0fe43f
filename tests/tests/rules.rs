//! Every rule of the RFCs is obeyed somewhere and proven by tests that exist.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use throng_tests::rules::{Table, faults, parse};

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn rfc_6455() -> Table {
    parse(include_str!("../src/rules/rfc6455.toml")).unwrap()
}

fn rfc_7692() -> Table {
    parse(include_str!("../src/rules/rfc7692.toml")).unwrap()
}

fn assert_sound(table: &Table) {
    let faults = faults(table, workspace());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The sections that a table names, those without rules too, are these, with so many rows each.
fn assert_names(table: &Table, expected: &[(&str, usize)]) {
    let rows = |section: &str| table.rule.iter().filter(|r| r.section() == section).count();
    let sections = table.sections.iter().chain(&table.without_rules);
    let mut named: Vec<(&str, usize)> = sections.map(|s| (s.as_str(), rows(s))).collect();
    named.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(named, expected);
}

#[test]
fn rfc_6455_is_obeyed_and_that_is_tested() {
    assert_sound(&rfc_6455());
}

#[test]
fn rfc_7692_is_obeyed_and_that_is_tested() {
    assert_sound(&rfc_7692());
}

/// The sections of RFC 6455 §4 to §7 and §9, and where these refer to: §8.1, §10.3 and §10.4;
/// and the rows of each.
#[test]
fn no_row_of_rfc_6455_is_left_out() {
    let expected = [
        ("4.1", 29),
        ("4.2", 0),
        ("4.2.1", 8),
        ("4.2.2", 12),
        ("4.3", 3),
        ("4.4", 1),
        ("5.1", 4),
        ("5.2", 7),
        ("5.3", 5),
        ("5.4", 13),
        ("5.5", 3),
        ("5.5.1", 7),
        ("5.5.2", 1),
        ("5.5.3", 1),
        ("5.6", 2),
        ("5.7", 1),
        ("5.8", 1),
        ("6.1", 6),
        ("6.2", 5),
        ("7.1.1", 0),
        ("7.1.2", 1),
        ("7.1.3", 0),
        ("7.1.4", 0),
        ("7.1.5", 1),
        ("7.1.6", 1),
        ("7.1.7", 3),
        ("7.2.1", 2),
        ("7.2.2", 1),
        ("7.2.3", 0),
        ("7.3", 0),
        ("7.4", 0),
        ("7.4.1", 4),
        ("7.4.2", 1),
        ("8.1", 2),
        ("9", 2),
        ("9.1", 5),
        ("9.2", 0),
        ("10.3", 1),
        ("10.4", 1),
    ];
    assert_names(&rfc_6455(), &expected);
}

/// The sections of RFC 7692 §5 to §7; its examples (§5.2, §7.1.3, §7.2.3) are each one;
/// and the rows of each.
#[test]
fn no_row_of_rfc_7692_is_left_out() {
    let expected = [
        ("5", 4),
        ("5.1", 3),
        ("5.2", 0),
        ("6", 2),
        ("6.1", 7),
        ("6.2", 2),
        ("7", 8),
        ("7.1", 0),
        ("7.1.1", 0),
        ("7.1.1.1", 2),
        ("7.1.1.2", 1),
        ("7.1.2", 0),
        ("7.1.2.1", 3),
        ("7.1.2.2", 4),
        ("7.1.3", 0),
        ("7.2", 0),
        ("7.2.1", 9),
        ("7.2.2", 4),
        ("7.2.3", 0),
        ("7.3", 0),
    ];
    assert_names(&rfc_7692(), &expected);
}

/// A row of which something is wrong, and what.
#[test]
fn what_is_wrong_with_a_row_is_told() {
    let head = "sections = ['5.1']\nwithout_rules = []\n[[rule]]\nid = '5.1/a'\nrule = 'b'\n";
    let obeyed = "obeyed = 'engine/src/protocol/mask.rs apply'\n";
    let sound = "tests = ['engine/src/protocol/mask.rs the_example_of_rfc_6455_5_7']\n";
    let check = |rest: &str| faults(&parse(&format!("{head}{rest}")).unwrap(), workspace());
    assert_eq!(check(&format!("{obeyed}{sound}")), Vec::<String>::new());
    assert_eq!(
        check("not_applicable = 'it is about proxies'"),
        Vec::<String>::new()
    );
    for (rest, fault) in [
        (sound.to_owned(), "either obeyed"),
        (
            format!("{obeyed}{sound}not_applicable = 'c'"),
            "either obeyed",
        ),
        ("not_applicable = ''".to_owned(), "either obeyed"),
        (obeyed.to_owned(), "no test proves it"),
        (
            obeyed.replace("apply", "applied") + sound,
            "no item applied",
        ),
        (obeyed.replace("mask.rs", "masks.rs") + sound, "masks.rs: "),
        (
            obeyed.to_owned() + &sound.replace("5_7", "5_8"),
            "no test the_example",
        ),
        (
            obeyed.to_owned() + &sound.replace(' ', ""),
            "no path and test",
        ),
        (
            format!("{obeyed}{sound}[[rule]]\nid = '5.1/a'\nrule = 'b'\n{obeyed}{sound}"),
            "twice",
        ),
        (
            format!("{obeyed}{sound}[[rule]]\nid = '5.2/a'\nrule = 'b'\n{obeyed}{sound}"),
            "no section",
        ),
    ] {
        let faults = check(&rest);
        assert!(
            faults.len() == 1 && faults[0].contains(fault),
            "{fault}: {faults:?}"
        );
    }
    let empty = parse("sections = ['5.1']\nwithout_rules = ['5.1']\nrule = []").unwrap();
    assert_eq!(faults(&empty, workspace()).len(), 2);
    assert!(parse(&format!("{head}unknown = 1")).is_err());
}
