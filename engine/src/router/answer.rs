//! What clients are answered (FEATURES 5.2).

use serde::{Serialize, Serializer};

use super::cx::TraceId;

/// A response, or an error, which has no data.
#[derive(Serialize)]
pub(super) struct Answer<'a, T> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    pub(super) code: u16,
    pub(super) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a T>,
    pub(super) trace_id: TraceId,
    pub(super) timestamp: u64,
}

#[derive(Serialize)]
pub(super) struct Pong {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) timestamp: u64,
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
