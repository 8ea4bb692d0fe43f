//! Notices: JSON by which the engine tells clients of something by itself.

use serde::Serialize;

/// The notice of `event` as text: `{"type":"notify","event":…,"data":…,"timestamp":…}`, with the time in
/// seconds since 1970. `data` is the engine's own and can always be represented.
pub(crate) fn notice(event: &str, data: &impl Serialize, timestamp: u64) -> String {
    let envelope = Envelope {
        kind: "notify",
        event,
        data,
        timestamp,
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: &'a str,
    data: &'a D,
    timestamp: u64,
}
