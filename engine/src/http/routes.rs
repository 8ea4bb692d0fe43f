//! Routes of the embedder's, which the side door serves.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower_service::Service;

use super::answer::text;

/// The body of a request that the [routes](crate::Builder::routes) are given: what hyper receives, up to
/// [`max_request_body`](field@crate::Config::max_request_body).
pub type RequestBody = Limited<Incoming>;

/// The body of an answer, whoever gives it.
pub(super) type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxError = Box<dyn Error + Send + Sync>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnyBody>, BoxError>> + Send>>;

/// A service of whichever type.
pub(crate) struct SideService(Box<dyn Fn(Request<RequestBody>) -> Answering + Send + Sync>);

impl SideService {
    pub(crate) fn new<S, B>(service: S) -> SideService
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Services need not be shared between threads, and a clone is asked once.
        let service = Mutex::new(service);
        SideService(Box::new(move |request| {
            let mut service = lock(&service).clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx))
                    .await
                    .map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        }))
    }

    /// Answers a request whose body is bounded. Whatever fails or panics there is answered 500.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        max_body: usize,
    ) -> Response<AnyBody> {
        let announced = request.body().size_hint().lower();
        if usize::try_from(announced).is_ok_and(|bytes| bytes > max_body) {
            return too_large();
        }
        // A task of its own: its panic is its own, and it ends with the connection.
        let mut task = JoinSet::new();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (self.0)(request.map(|body| Limited::new(body, max_body)))
        })) {
            Ok(answering) => drop(task.spawn(answering)),
            Err(_) => tracing::error!("side door: a service panicked when it was cloned"),
        }
        match task.join_next().await {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(error))) if is_too_large(&*error) => too_large(),
            Some(Ok(Err(error))) => {
                tracing::error!(%error, "side door: a service failed");
                text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
            Some(Err(error)) => {
                tracing::error!(%error, "side door: a service panicked");
                text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
            None => text(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }
}

fn lock<S>(service: &Mutex<S>) -> std::sync::MutexGuard<'_, S> {
    service.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_large() -> Response<AnyBody> {
    text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
}

/// Whether the body's bound is at the bottom of an error.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(it) = error {
        if it.is::<LengthLimitError>() {
            return true;
        }
        error = it.source();
    }
    false
}
