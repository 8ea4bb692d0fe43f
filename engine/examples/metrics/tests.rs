//! What the dashboard and the alerts name is what the engine tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use throng::{Event, EventKinds};

use crate::{Options, config, load, start};

const DASHBOARD: &str = include_str!("dashboard.json");
const ALERTS: &str = include_str!("alerts.yml");
const PROMETHEUS: &str = include_str!("prometheus.yml");

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// Each sample's name, with its labels and their values.
type Exposed = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What the service tells at `/metrics`.
fn exposed() -> Exposed {
    let engine = start("127.0.0.1:0", config().shards(2)).unwrap();
    let text = get(engine.local_addr().unwrap(), "/metrics");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut exposed = Exposed::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let known = exposed.entry(name.to_owned()).or_default();
        for (label, _, value) in matchers(labels.trim_end_matches('}')) {
            known.entry(label).or_default().insert(value);
        }
    }
    exposed
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// `a="b",c=~"d|e"` as labels, operators and values.
fn matchers(text: &str) -> Vec<(String, String, String)> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let read = parts.map(|part| {
        let (left, rest) = part.split_once('"').unwrap();
        let (label, operator) = left.split_at(left.find(['=', '!']).unwrap());
        let value = rest.strip_suffix('"').unwrap();
        (
            label.trim().to_owned(),
            operator.to_owned(),
            value.to_owned(),
        )
    });
    read.collect()
}

/// What an expression in PromQL reads.
#[derive(Debug, Default)]
struct Reads {
    metrics: BTreeSet<String>,
    /// Labels that are grouped by.
    groups: BTreeSet<String>,
}

/// Checks all that an expression names.
fn check(expression: &str, exposed: &Exposed) -> Reads {
    let mut reads = Reads::default();
    let mut at = 0;
    while let Some(found) = expression[at..].find("throng_").map(|found| at + found) {
        let rest = &expression[found..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let labels = exposed.get(name);
        let labels = labels.unwrap_or_else(|| panic!("there is no {name}: {expression}"));
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for matcher in matchers(selector.map_or("", |(selector, _)| selector)) {
            check_matcher(&matcher, labels, expression);
        }
        // Of what only grows the rate is read, of nothing else.
        let grows = ["_total", "_bucket", "_sum", "_count"];
        let grows = grows.iter().any(|suffix| name.ends_with(suffix));
        let before = &expression[..found];
        let is_rate = before.ends_with("rate(") || before.ends_with("increase(");
        assert_eq!(grows, is_rate, "{name}: {expression}");
        reads.metrics.insert(name.to_owned());
        at = found + name.len();
    }
    for grouping in expression.split("by (").skip(1) {
        let (labels, _) = grouping.split_once(')').unwrap();
        reads
            .groups
            .extend(labels.split(',').map(|label| label.trim().to_owned()));
    }
    for label in &reads.groups {
        let has_it = |metric: &String| exposed[metric].contains_key(label);
        let known = ADDED.contains(&&**label) || reads.metrics.iter().all(has_it);
        assert!(known, "{label}: {expression}");
    }
    let is_quantile = expression.contains("_bucket");
    assert_eq!(is_quantile, expression.starts_with("histogram_quantile("));
    assert_eq!(is_quantile, reads.groups.contains("le"), "{expression}");
    reads
}

/// Checks a label, and the values that are asked for by name.
fn check_matcher(
    (label, operator, value): &(String, String, String),
    labels: &BTreeMap<String, BTreeSet<String>>,
    expression: &str,
) {
    if ADDED.contains(&&**label) {
        assert_eq!(
            (&**operator, value),
            ("=~", &format!("${label}")),
            "{expression}"
        );
        return;
    }
    let values = labels.get(label);
    let values = values.unwrap_or_else(|| panic!("there is no label {label}: {expression}"));
    for value in value.split('|') {
        assert!(
            values.contains(value),
            "there is no {label} {value}: {expression}"
        );
    }
}

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

fn panels(dashboard: &Value) -> &Vec<Value> {
    dashboard["panels"].as_array().unwrap()
}

#[test]
fn the_dashboard_reads_what_is_there() {
    let exposed = exposed();
    let dashboard = dashboard();
    let mut read = 0;
    for panel in panels(&dashboard)
        .iter()
        .filter(|panel| panel["type"] != "row")
    {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let reads = check(expression, &exposed);
            let selected = expression
                .matches(r#"job=~"$job", instance=~"$instance""#)
                .count();
            assert_eq!(selected, reads.metrics.len(), "{expression}");
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1) {
                let (label, _) = label.split_once("}}").unwrap();
                assert!(reads.groups.contains(label), "{legend}: {expression}");
            }
            read += reads.metrics.len();
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            check(query, &exposed);
        }
    }
    assert!(read > 30, "{read} metrics are shown");
}

#[test]
fn panels_are_apart_and_read_the_source_that_is_chosen() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(cells.insert((x, y)), "{title} is above another");
            }
        }
        if panel["type"] != "row" {
            let targets = panel["targets"].as_array().unwrap();
            let refs: BTreeSet<&str> = targets
                .iter()
                .filter_map(|it| it["refId"].as_str())
                .collect();
            assert_eq!(refs.len(), targets.len(), "{title}");
            for source in targets.iter().chain([panel]) {
                assert_eq!(source["datasource"]["uid"], "${datasource}", "{title}");
            }
        }
    }
}

#[test]
fn the_alerts_read_what_is_there() {
    let exposed = exposed();
    let rules: Vec<&str> = ALERTS.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 3);
    for rule in rules {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        let (expression, annotations) = rest.split_once("\n        labels:").unwrap();
        let reads = check(expression, &exposed);
        assert!(!reads.metrics.is_empty(), "{rule}");
        for told in annotations.split("$labels.").skip(1) {
            let (label, _) = told.split_once(' ').unwrap();
            let kept = reads.groups.contains(label);
            let kept = kept || reads.groups.is_empty() && ADDED.contains(&label);
            assert!(kept, "{label}: {rule}");
        }
    }
}

#[test]
fn prometheus_is_told_where_the_service_is() {
    let options = Options::parse_from(["metrics"]);
    assert!(PROMETHEUS.contains(&format!("[\"{}\"]", options.listen)));
    assert!(PROMETHEUS.contains("- alerts.yml"));
}

#[test]
fn there_is_something_to_see() {
    let engine = start("127.0.0.1:0", config().shards(2)).unwrap();
    let kinds = EventKinds::MESSAGE | EventKinds::HANDSHAKE_REJECTED;
    let mut events = engine.subscribe(kinds, 1000).unwrap();
    let address = engine.local_addr().unwrap();
    std::thread::spawn(move || load::run(address, 20));
    let (mut messages, mut rejected) = (0, 0);
    while messages == 0 || rejected == 0 {
        match events.recv_timeout(PATIENCE).expect("nothing happens") {
            Event::Message { .. } => messages += 1,
            _ => rejected += 1,
        }
    }
    assert!(engine.room_count() > 0);
}
