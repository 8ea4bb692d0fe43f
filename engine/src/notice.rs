//! Notices: JSON by which the engine tells clients of something by itself.

use serde::Serialize;

/// The notice of `event` as text: `{"type":"notify","event":…,"data":…,"timestamp":…}`, with the time in
/// seconds since 1970. `data` is the engine's own and can always be represented.
pub(crate) fn notice(event: &str, data: &impl Serialize, timestamp: u64) -> String {
    let notify = Notify::new(event, data, timestamp);
    serde_json::to_string(&notify).unwrap_or_default()
}

/// The envelope of what clients are told unasked (FEATURES 5.2).
#[derive(Serialize)]
pub(crate) struct Notify<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    event: &'a str,
    data: &'a D,
    timestamp: u64,
}

impl<'a, D: Serialize> Notify<'a, D> {
    pub(crate) fn new(event: &'a str, data: &'a D, timestamp: u64) -> Notify<'a, D> {
        Notify {
            kind: "notify",
            event,
            data,
            timestamp,
        }
    }
}
