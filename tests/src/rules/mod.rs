//! The rules of RFC 6455 and RFC 7692, each with where it is obeyed and what proves it.
//!
//! The tables are the files beside this one. A row says, of one MUST or MUST NOT:
//!
//! ```toml
//! [[rule]]
//! id = "5.1/client-masks"            # the section, and a name within it
//! rule = "A client masks every frame it sends."
//! obeyed = "engine/src/protocol/encoder.rs Masks::next_key"
//! tests = ["engine/src/protocol/encoder/tests.rs every_frame_of_a_client_has_a_key_of_its_own"]
//! ```
//!
//! or, of one that asks nothing of this engine, `not_applicable` with the reason. An item is a
//! `fn`, `const`, `struct`, … of the file, or one within the block of a type (`Type::item`, which
//! may be a variant as well).

mod source;

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

use source::Source;

/// The rules of one RFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Sections with rules, each of which has a row.
    pub sections: Vec<String>,
    /// Sections of the same range that ask for nothing.
    pub without_rules: Vec<String>,
    /// The rows.
    pub rule: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The section, a slash, and a name within it.
    pub id: String,
    /// What is asked for.
    pub rule: String,
    /// The file and the item that obey it.
    pub obeyed: Option<String>,
    /// Files and the tests in them that prove it.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Why it asks for nothing here.
    pub not_applicable: Option<String>,
}

impl Rule {
    /// The section it is from.
    pub fn section(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }
}

/// Reads a table.
///
/// # Errors
/// When it is no table of rules, with the place.
pub fn parse(table: &str) -> Result<Table, toml::de::Error> {
    toml::from_str(table)
}

/// What is wrong with a table, its paths being those below `root`; nothing if it is sound.
pub fn faults(table: &Table, root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = HashSet::new();
    for rule in &table.rule {
        if !ids.insert(&rule.id) {
            faults.push(format!("{} is there twice", rule.id));
        }
        if !table
            .sections
            .iter()
            .any(|section| section == rule.section())
        {
            faults.push(format!("{} is of no section listed", rule.id));
        }
        faults.extend(
            faults_of(rule, root)
                .into_iter()
                .map(|fault| format!("{}: {fault}", rule.id)),
        );
    }
    for section in &table.sections {
        if !table.rule.iter().any(|rule| rule.section() == section) {
            faults.push(format!("section {section} has no row"));
        }
        if table.without_rules.contains(section) {
            faults.push(format!("section {section} has rules and has none"));
        }
    }
    faults
}

fn faults_of(rule: &Rule, root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    if rule.rule.is_empty() {
        faults.push("it says nothing".to_owned());
    }
    match (&rule.obeyed, &rule.not_applicable) {
        (Some(obeyed), None) => {
            faults.extend(fault_of_place(root, obeyed, "item", |source, name| {
                source.defines(name)
            }));
            if rule.tests.is_empty() {
                faults.push("no test proves it".to_owned());
            }
        }
        (None, Some(reason)) if !reason.is_empty() && rule.tests.is_empty() => {}
        _ => faults
            .push("it is either obeyed and tested or not applicable, with a reason".to_owned()),
    }
    for test in &rule.tests {
        faults.extend(fault_of_place(root, test, "test", |source, name| {
            source.tests(name)
        }));
    }
    faults
}

/// What is wrong with a file and a name in it.
fn fault_of_place(
    root: &Path,
    place: &str,
    what: &str,
    has: impl FnOnce(&Source, &str) -> bool,
) -> Option<String> {
    let Some((path, name)) = place.split_once(' ') else {
        return Some(format!("{place:?} is no path and {what}"));
    };
    match Source::read(&root.join(path)) {
        Err(error) => Some(format!("{path}: {error}")),
        Ok(source) if has(&source, name) => None,
        Ok(_) => Some(format!("no {what} {name} in {path}")),
    }
}
