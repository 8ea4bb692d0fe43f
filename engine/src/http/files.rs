//! Folders whose files the side door serves.

use std::fmt;
use std::path::PathBuf;

use http_body_util::BodyExt;
use hyper::body::Body;
use hyper::header::{HeaderValue, LOCATION};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode};
use tower_http::services::ServeDir;
use tower_service::Service;

use super::answer::text;
use super::page::is_path;
use super::routes::AnyBody;
use crate::config::ConfigError;

/// Folders of one engine.
const MAX_FOLDERS: usize = 64;

/// A folder as it was given.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) prefix: String,
    pub(crate) folder: PathBuf,
}

/// The folders of an engine, checked, the longest paths first.
pub(super) struct Folders(Vec<(String, ServeDir)>);

impl Folders {
    /// # Errors
    /// The first folder that [`Builder::files`](crate::Builder::files) says is refused, or more than 64.
    pub(super) fn new(mut folders: Vec<Folder>) -> Result<Folders, ConfigError> {
        let count = folders.len();
        if count > MAX_FOLDERS {
            return Err(ConfigError::OutOfRange {
                field: "files",
                value: count.to_string(),
                least: "0".to_owned(),
                most: MAX_FOLDERS.to_string(),
            });
        }
        folders.sort_by_key(|folder| std::cmp::Reverse(folder.prefix.len()));
        let mut checked: Vec<(String, ServeDir)> = Vec::with_capacity(count);
        for Folder { prefix, folder } in folders {
            let refuse = |rule| Err(ConfigError::invalid("files", format!("{prefix:?}"), rule));
            if !is_path(&prefix) || (prefix.len() > 1 && prefix.ends_with('/')) {
                return refuse(
                    "is no path: it must begin with /, not end with it, and have no query",
                );
            }
            if checked.iter().any(|(known, _)| *known == prefix) {
                return refuse("is the path of two folders");
            }
            if !folder.is_dir() {
                let rule = format!("is to serve {}, which is no folder", folder.display());
                return Err(ConfigError::invalid("files", format!("{prefix:?}"), rule));
            }
            checked.push((prefix, ServeDir::new(folder)));
        }
        Ok(Folders(checked))
    }

    /// The answer to a request for what is below the path of a folder; gives any other request back.
    pub(super) async fn answer<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<AnyBody>, Request<B>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path();
        let below = |(prefix, folder): &(String, ServeDir)| {
            let rest = path.strip_prefix(&**prefix)?;
            let is_below = prefix == "/" || rest.is_empty() || rest.starts_with('/');
            is_below.then(|| {
                (
                    prefix.clone(),
                    folder.clone(),
                    rest.trim_start_matches('/').to_owned(),
                )
            })
        };
        let Some((prefix, mut folder, rest)) = self.0.iter().find_map(below) else {
            return Err(request);
        };
        let (mut parts, _) = request.into_parts();
        let query = parts.uri.query().map(|query| format!("?{query}"));
        let target = format!("/{rest}{}", query.unwrap_or_default());
        let Ok(target) = PathAndQuery::try_from(target) else {
            return Ok(text(StatusCode::BAD_REQUEST, "malformed path"));
        };
        parts.uri = target.into();
        let request =
            Request::from_parts(parts, http_body_util::Empty::<hyper::body::Bytes>::new());
        let Ok(response) = folder.call(request).await;
        let mut response = response.map(|body| body.map_err(Into::into).boxed_unsync());
        put_back(&prefix, &mut response);
        Ok(response)
    }
}

/// A folder asked for without its last slash is redirected to: below the path that it is served at.
fn put_back(prefix: &str, response: &mut Response<AnyBody>) {
    if let Some(location) = response.headers_mut().get_mut(LOCATION)
        && let Ok(below) = location.to_str()
        && let Ok(whole) = HeaderValue::try_from(format!("{}{below}", prefix.trim_end_matches('/')))
    {
        *location = whole;
    }
}

impl fmt::Debug for Folders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(prefix, _)| prefix))
            .finish()
    }
}
