//! What clients are answered (FEATURES 5.2).

use serde::{Serialize, Serializer};

use super::Style;
use super::codec::Codec;
use super::cx::{About, Cx, TraceId};
use super::error::EventError;
use super::serve::Table;
use crate::conn::Conn;
use crate::protocol::close::CloseCode;

/// A response, or an error, which has no data.
#[derive(Serialize)]
struct Answer<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    code: u16,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a T>,
    trace_id: TraceId,
    timestamp: u64,
}

#[derive(Serialize)]
struct Pong {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: u64,
}

impl<S: Send + 'static, C: Codec> Table<S, C> {
    /// Answers an event with what its handler has made, if an answer is wanted.
    pub(super) fn answer<T: Serialize>(
        &self,
        cx: &mut Cx<'_, S>,
        data: &T,
    ) -> Result<(), EventError> {
        if !cx.about.wants_answer {
            return Ok(());
        }
        let timestamp = cx.unix_time();
        let About {
            route,
            request_id,
            trace,
            ..
        } = &cx.about;
        let response = Answer {
            kind: "response",
            event: self.shown(*route),
            request_id: request_id.as_deref(),
            code: 200,
            message: "success",
            data: Some(data),
            trace_id: *trace,
            timestamp,
        };
        let mut out = Vec::with_capacity(ANSWER);
        if let Err(error) = self.codec.write(&mut out, &response) {
            let event = &*self.entries[*route].name;
            tracing::error!(target: "throng::router", event, %trace, error, "an answer cannot be represented");
            return Err(EventError::internal());
        }
        self.send(cx, &out);
        Ok(())
    }

    /// Ends an event whose handler went on beside the shard.
    pub(super) fn finish<T: Serialize>(
        &self,
        conn: &mut Conn<'_, S>,
        about: About<'_>,
        outcome: Result<T, EventError>,
    ) {
        let mut cx = Cx::new(conn.reborrow(), about);
        let outcome = outcome.and_then(|data| self.answer(&mut cx, &data));
        if let Err(error) = &outcome {
            self.fail(&mut cx, error);
        }
        self.after(&mut cx, self.middleware.len(), outcome.as_ref().err());
    }

    /// Tells a client why its event came to nothing.
    pub(super) fn fail(&self, cx: &mut Cx<'_, S>, error: &EventError) {
        let (route, trace) = (cx.about.route, cx.about.trace);
        let request_id = cx.about.request_id.take();
        let event = self.shown(route);
        self.tell(cx, event, request_id.as_deref(), trace, error);
        cx.about.request_id = request_id;
        if let Some(reason) = error.close_reason() {
            cx.close(CloseCode::POLICY, reason);
        }
    }

    /// Tells a client that its message is not understood, and counts that.
    #[cold]
    pub(super) fn refuse(
        &self,
        conn: &mut Conn<'_, S>,
        event: Option<&str>,
        request_id: Option<&str>,
        error: &EventError,
    ) {
        let trace = TraceId(conn.random());
        let event = event.filter(|_| self.style == Style::Plain);
        self.tell(conn, event, request_id, trace, error);
        conn.report_invalid();
    }

    fn tell(
        &self,
        conn: &mut Conn<'_, S>,
        event: Option<&str>,
        request_id: Option<&str>,
        trace_id: TraceId,
        error: &EventError,
    ) {
        let failure = Answer::<()> {
            kind: "error",
            event,
            request_id,
            code: error.code(),
            message: error.message(),
            data: None,
            trace_id,
            timestamp: conn.unix_time(),
        };
        self.write(conn, &failure);
    }

    /// The event's name, where answers carry it.
    fn shown(&self, route: usize) -> Option<&str> {
        let name = &*self.entries[route].name;
        (self.style == Style::Plain).then_some(name)
    }

    pub(super) fn answer_ping(&self, conn: &mut Conn<'_, S>) {
        let timestamp = conn.unix_time();
        let kind = "pong";
        self.write(conn, &Pong { kind, timestamp });
    }

    /// Sends what can always be represented.
    pub(super) fn write<T: Serialize>(&self, conn: &mut Conn<'_, S>, value: &T) {
        let mut out = Vec::with_capacity(ANSWER);
        match self.codec.write(&mut out, value) {
            Ok(()) => self.send(conn, &out),
            Err(error) => {
                tracing::error!(target: "throng::router", error, "a codec cannot represent an answer of the router's");
            }
        }
    }

    fn send(&self, conn: &mut Conn<'_, S>, bytes: &[u8]) {
        if C::IS_BINARY {
            conn.send(bytes);
            return;
        }
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => drop(conn.send(text)),
            Err(_) => {
                tracing::error!(target: "throng::router", "a codec for text has written what is none");
            }
        }
    }
}

/// Bytes that most answers fit in.
const ANSWER: usize = 256;

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
