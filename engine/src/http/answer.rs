//! What the side door answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::page::{Content, HEALTH, Pages};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The answer to a request; to `HEAD` the same as to `GET`, hyper keeps its content back.
pub(super) fn answer(pages: &Pages, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let page = pages.get(path);
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
        // Of an engine that drains this is not asked: it listens no more, and its shards refuse
        // whoever has not finished asking.
        None => with(
            text(StatusCode::OK, "ok"),
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ),
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
