//! What the side door answers.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};

use super::page::Content;
use super::routes::AnyBody;
use super::serve::Desk;
use super::side_door::MetricsText;
use crate::limits::RETRY_AFTER_SECONDS;

/// The path at which load balancers ask whether the engine lives.
pub(super) const HEALTH: &str = "/healthz";
/// The path at which they ask whether it takes newcomers.
pub(super) const READY: &str = "/readyz";
/// The path of the metrics, where they are served.
pub(super) const METRICS: &str = "/metrics";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// What Prometheus expects of the text that the metrics are written in.
const METRICS_TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// The answer to a request: the engine's own, that of a page, of a folder, of the routes. To `HEAD` it is the
/// same as to `GET`, hyper keeps its content back.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<AnyBody> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(own) = own_answer(desk, request.uri().path()) {
        return match own {
            _ if !is_read => not_allowed(),
            Own::Page(Content { content_type, body }) => with(
                Response::new(whole(body.clone())),
                CONTENT_TYPE,
                content_type.clone(),
            ),
            Own::Health => fresh(text(StatusCode::OK, "ok")),
            Own::Readiness => fresh(readiness(desk)),
            Own::Metrics(metrics) => {
                let metrics = Response::new(whole(metrics().into()));
                fresh(with(metrics, CONTENT_TYPE, METRICS_TEXT))
            }
        };
    }
    #[cfg(feature = "files")]
    let request = match desk.content.folders.answer(request).await {
        Ok(response) => return response,
        Err(request) => request,
    };
    match &desk.content.routes {
        Some(routes) => routes.answer(request, desk.limits.body).await,
        None => text(StatusCode::NOT_FOUND, "not found"),
    }
}

/// What the engine answers itself.
enum Own<'d> {
    Page(&'d Content),
    Health,
    Readiness,
    Metrics(&'d MetricsText),
}

fn own_answer<'d>(desk: &'d Desk, path: &str) -> Option<Own<'d>> {
    match path {
        // Of an engine that drains this is hardly asked: it listens no more.
        HEALTH => Some(Own::Health),
        READY => Some(Own::Readiness),
        _ => {
            let metrics = desk.sources.metrics.as_ref().filter(|_| path == METRICS);
            let page = || desk.content.pages.get(path).map(Own::Page);
            metrics.map(Own::Metrics).or_else(page)
        }
    }
}

fn readiness(desk: &Desk) -> Response<AnyBody> {
    match (desk.sources.readiness)() {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(reason) => {
            let mut refusal = text(StatusCode::SERVICE_UNAVAILABLE, "");
            *refusal.body_mut() = whole(reason.to_string().into());
            with(
                refusal,
                RETRY_AFTER,
                HeaderValue::from_static(RETRY_AFTER_SECONDS),
            )
        }
    }
}

fn not_allowed() -> Response<AnyBody> {
    let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    with(refusal, ALLOW, HeaderValue::from_static("GET, HEAD"))
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response<AnyBody> {
    let mut response = Response::new(whole(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    with(response, CONTENT_TYPE, TEXT)
}

/// An answer that is true at this moment only.
fn fresh(response: Response<AnyBody>) -> Response<AnyBody> {
    with(
        response,
        CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    )
}

fn whole(bytes: Bytes) -> AnyBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn with<B>(mut response: Response<B>, name: HeaderName, value: HeaderValue) -> Response<B> {
    response.headers_mut().insert(name, value);
    response
}
