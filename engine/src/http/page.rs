//! Pages that the side door serves.

use std::collections::HashMap;

use hyper::body::Bytes;
use hyper::header::HeaderValue;

use super::answer::{HEALTH, METRICS, READY};
use crate::config::ConfigError;

/// Pages of one engine.
const MAX_PAGES: usize = 1024;

/// A page served on the engine's port, to requests that ask for no upgrade.
///
/// ```
/// use throng::Page;
///
/// let page = Page::new("/", "text/html; charset=utf-8", "<!doctype html><h1>Chat</h1>");
/// ```
///
/// `GET` and `HEAD` of its path are answered `200`; a query is ignored. The path is compared as it
/// was sent, byte for byte, without decoding. A client that has not taken the whole answer within
/// 30 s is cut off: what is large, or meant for slow networks, is better served elsewhere.
#[derive(Clone, Debug)]
pub struct Page {
    path: String,
    content_type: String,
    body: Bytes,
}

impl Page {
    /// A page of this path, content type and content, which may be anything that holds bytes: a
    /// `&'static str`, `include_bytes!(…)`, a `Vec<u8>`, an `Arc<[u8]>`. It is not copied.
    ///
    /// The engine refuses to start with a page whose path does not begin with `/`, has a query, a
    /// fragment or a byte that belongs encoded, is `/healthz`, `/readyz`, `/metrics` where that is served, or that
    /// of another page, or whose content type is no header value.
    pub fn new(
        path: impl Into<String>,
        content_type: impl Into<String>,
        body: impl AsRef<[u8]> + Send + 'static,
    ) -> Page {
        Page {
            path: path.into(),
            content_type: content_type.into(),
            body: Bytes::from_owner(body),
        }
    }
}

/// The pages of an engine, checked.
#[derive(Debug, Default)]
pub(super) struct Pages(HashMap<String, Content>);

/// What a page answers.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) content_type: HeaderValue,
    pub(super) body: Bytes,
}

impl Pages {
    /// # Errors
    /// The first page that [`Page::new`] says is refused, or more than 1,024 of them.
    pub(super) fn new(pages: Vec<Page>, has_metrics: bool) -> Result<Pages, ConfigError> {
        let count = pages.len();
        if count > MAX_PAGES {
            return Err(ConfigError::OutOfRange {
                field: "pages",
                value: count.to_string(),
                least: "0".to_owned(),
                most: MAX_PAGES.to_string(),
            });
        }
        let mut table = HashMap::with_capacity(count);
        for Page {
            path,
            content_type,
            body,
        } in pages
        {
            let refuse = |rule| Err(ConfigError::invalid("pages", format!("{path:?}"), rule));
            check_path("pages", &path)?;
            if path == HEALTH || path == READY || (has_metrics && path == METRICS) {
                return refuse("is answered by the engine itself");
            }
            let Ok(content_type) = HeaderValue::try_from(content_type) else {
                return refuse("has a content type that is no header value");
            };
            if table.contains_key(&path) {
                return refuse("is the path of two pages");
            }
            table.insert(path, Content { content_type, body });
        }
        Ok(Pages(table))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Content> {
        self.0.get(path)
    }
}

/// # Errors
/// When what is given for a page's path is none.
pub(crate) fn check_path(field: &'static str, path: &str) -> Result<(), ConfigError> {
    if is_path(path) {
        return Ok(());
    }
    let rule = "is no path: it must begin with / and have no query or fragment";
    Err(ConfigError::invalid(field, format!("{path:?}"), rule))
}

/// RFC 3986 §3.3, as far as a request line needs it.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn page(path: &str) -> Page {
        Page::new(path, "text/plain", "text")
    }

    #[test]
    fn content_is_whatever_holds_bytes() {
        let shared: Arc<[u8]> = Arc::from(*b"b");
        let pages = Pages::new(
            vec![
                Page::new("/a", "text/plain", "a"),
                Page::new("/b", "text/plain", shared),
                Page::new("/c%20d", "text/plain", b"c"),
                Page::new("/d/", "text/plain", vec![b'd']),
            ],
            false,
        )
        .unwrap();
        for (path, body) in [("/a", "a"), ("/b", "b"), ("/c%20d", "c"), ("/d/", "d")] {
            assert_eq!(pages.get(path).unwrap().body, body);
        }
        assert!(pages.get("/d").is_none());
    }

    #[test]
    fn pages_that_cannot_be_served_are_refused() {
        for (path, rule) in [
            ("", "is no path"),
            ("index.html", "is no path"),
            ("/a b", "is no path"),
            ("/a?b=c", "is no path"),
            ("/a#b", "is no path"),
            ("/ä", "is no path"),
            ("/healthz", "is answered by the engine"),
            ("/readyz", "is answered by the engine"),
            ("/metrics", "is answered by the engine"),
        ] {
            let error = Pages::new(vec![page(path)], true).expect_err(path);
            assert_eq!(error.field(), Some("pages"));
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("pages: {path:?} {rule}")),
                "{error}"
            );
        }
        assert!(Pages::new(vec![page("/metrics")], false).is_ok());
        let twice = Pages::new(vec![page("/a"), page("/b"), page("/a")], false).unwrap_err();
        assert_eq!(twice.to_string(), "pages: \"/a\" is the path of two pages");
        let split = Page::new("/", "text/html\r\nX: y", "");
        assert!(Pages::new(vec![split], false).is_err());
        let many = (0..=MAX_PAGES).map(|n| page(&format!("/{n}"))).collect();
        assert!(matches!(
            Pages::new(many, false),
            Err(ConfigError::OutOfRange { .. })
        ));
    }
}
