//! What the side door answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::page::{Content, HEALTH, Pages};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Everything that is known by a path.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) pages: Pages,
    /// While it is set, the engine is going: it is not to be sent new connections.
    pub(super) draining: Arc<AtomicBool>,
}

impl Answers {
    /// The answer to a request; to `HEAD` the same as to `GET`, hyper keeps its content back.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page = self.pages.get(path);
        if page.is_none() && path != HEALTH {
            return text(StatusCode::NOT_FOUND, "not found");
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            return with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        match page {
            Some(Content { content_type, body }) => with(
                Response::new(Full::new(body.clone())),
                CONTENT_TYPE,
                content_type.clone(),
            ),
            None => self.health(),
        }
    }

    fn health(&self) -> Response<Full<Bytes>> {
        let health = if self.draining.load(Ordering::Relaxed) {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining")
        } else {
            text(StatusCode::OK, "ok")
        };
        with(health, CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    with(response, CONTENT_TYPE, TEXT)
}

fn with<B>(mut response: Response<B>, name: HeaderName, value: HeaderValue) -> Response<B> {
    response.headers_mut().insert(name, value);
    response
}
