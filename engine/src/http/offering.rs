//! What an embedder has the side door serve.

use std::fmt;

#[cfg(feature = "files")]
use super::files::{Folder, Folders};
use super::page::{Page, Pages};
use super::routes::SideService;
use crate::config::ConfigError;

/// What is served, as it was given.
#[derive(Default)]
pub(crate) struct Offering {
    pub(crate) pages: Vec<Page>,
    #[cfg(feature = "files")]
    pub(crate) folders: Vec<Folder>,
    pub(crate) routes: Option<SideService>,
    /// Whether the engine's metrics are, so that no page may have their path.
    pub(crate) serves_metrics: bool,
}

impl fmt::Debug for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut offering = f.debug_struct("Offering");
        offering.field("pages", &self.pages);
        #[cfg(feature = "files")]
        offering.field("folders", &self.folders);
        offering
            .field("routes", &self.routes.is_some())
            .field("serves_metrics", &self.serves_metrics)
            .finish()
    }
}

/// The same, checked.
pub(crate) struct Checked {
    pub(super) pages: Pages,
    #[cfg(feature = "files")]
    pub(super) folders: Folders,
    pub(super) routes: Option<SideService>,
    #[cfg(feature = "metrics")]
    pub(super) serves_metrics: bool,
}

impl Offering {
    /// # Errors
    /// The first page or folder that cannot be served.
    pub(crate) fn check(self) -> Result<Checked, ConfigError> {
        Ok(Checked {
            pages: Pages::new(self.pages, self.serves_metrics)?,
            #[cfg(feature = "files")]
            folders: Folders::new(self.folders)?,
            routes: self.routes,
            #[cfg(feature = "metrics")]
            serves_metrics: self.serves_metrics,
        })
    }
}
