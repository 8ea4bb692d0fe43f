//! Every feature has a row in `docs/features.md`, and the tests named there exist.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const TABLE: &str = include_str!("../../docs/features.md");

/// What there must be a row for.
const FEATURES: [&str; 36] = [
    "2", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6",
    "4.7", "4.8", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "6.1", "6.2", "6.3", "6.4",
    "6.5", "7.1", "7.2", "7.3", "7.4", "8.1", "8.2", "8.3", "8.4",
];

/// The names in backticks that are of a suite and a test.
fn named(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|name| name.split_once("::"))
        .filter(|(suite, test)| {
            let is_snake = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            is_snake(suite) && is_snake(test) && (suite.contains('_') || *suite == "features")
        })
        .collect()
}

/// The functions of a suite that are tests.
fn tests_of(suite: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut sources = Vec::new();
    let file = folder.join(format!("{suite}.rs"));
    if file.exists() {
        sources.push(fs::read_to_string(file).unwrap());
    }
    for entry in fs::read_dir(folder.join(suite)).into_iter().flatten() {
        sources.push(fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let mut tests = BTreeSet::new();
    for source in &sources {
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(name) = line.split("fn ").nth(1).filter(|_| is_test) {
                tests.insert(name.split(['(', '<']).next().unwrap().to_owned());
                is_test = false;
            }
        }
    }
    tests
}

#[test]
fn every_feature_has_a_row_with_tests() {
    let rows: BTreeMap<&str, &str> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter(|(number, _)| number.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let numbers: BTreeSet<&str> = rows.keys().copied().collect();
    let expected: BTreeSet<&str> = FEATURES.into_iter().collect();
    assert_eq!(numbers, expected);
    for (number, row) in rows {
        assert!(!named(row).is_empty(), "{number} names no test");
    }
}

#[test]
fn the_tests_that_are_named_exist() {
    let mut suites: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let names = named(TABLE);
    assert!(names.len() > 80, "{} names", names.len());
    for (suite, test) in names {
        let tests = suites.entry(suite).or_insert_with(|| tests_of(suite));
        assert!(tests.contains(test), "there is no test {suite}::{test}");
    }
}
