//! What a service is called for besides events.

use super::{Codec, Router};
use crate::conn::Conn;
use crate::event::Close;
use crate::handler::{Accept, Reject, Upgrade};
use crate::protocol::message::Message;

type Admit<S> = Box<dyn Fn(&Upgrade<'_>) -> Result<Accept<S>, Reject> + Send + Sync>;
type OnOpen<S> = Box<dyn Fn(&mut Conn<'_, S>) + Send + Sync>;
type OnClose<S> = Box<dyn Fn(&mut Conn<'_, S>, &Close) + Send + Sync>;
type OnOther<S> = Box<dyn Fn(&mut Conn<'_, S>, Message<'_>) + Send + Sync>;

/// What is called besides events.
pub(super) struct Hooks<S> {
    pub(super) admit: Admit<S>,
    pub(super) open: Option<OnOpen<S>>,
    pub(super) authenticated: Option<OnOpen<S>>,
    pub(super) close: Option<OnClose<S>>,
    pub(super) other: Option<OnOther<S>>,
}

impl<S> Hooks<S> {
    pub(super) fn new(
        admit: impl Fn(&Upgrade<'_>) -> Result<Accept<S>, Reject> + Send + Sync + 'static,
    ) -> Hooks<S> {
        Hooks {
            admit: Box::new(admit),
            open: None,
            authenticated: None,
            close: None,
            other: None,
        }
    }
}

/// Hooks.
impl<S: Send + 'static, C: Codec> Router<S, C> {
    /// Calls `hook` for each connection that opens; what it sends arrives before all else but the token of a [session](crate::router::Sessions).
    pub fn on_open(
        &mut self,
        hook: impl Fn(&mut Conn<'_, S>) + Send + Sync + 'static,
    ) -> &mut Self {
        self.hooks.open = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for each connection whose client has been [authenticated](Router::auth): once it is open, where that was at the
    /// upgrade, and otherwise when it was answered `auth_success`, or its [session](crate::router::Sessions) was resumed. A client that shows
    /// another token while one of its holds is not told of again.
    ///
    /// ```
    /// # use throng::Router;
    /// # use throng::router::{Auth, Identity};
    /// let mut router = Router::new();
    /// router.auth(Auth::new(|token: &str, _| Ok(Identity::new(token))));
    /// router.on_authenticated(|conn| {
    ///     let user = conn.user_id().unwrap_or_default().to_owned();
    ///     // Where a limit is reached the client is not in the room.
    ///     let _ = conn.join(&format!("inbox of {user}"));
    /// });
    /// # router.freeze().unwrap();
    /// ```
    pub fn on_authenticated(
        &mut self,
        hook: impl Fn(&mut Conn<'_, S>) + Send + Sync + 'static,
    ) -> &mut Self {
        self.hooks.authenticated = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for each connection that ends; see [`Handler::on_close`](crate::Handler::on_close).
    pub fn on_close(
        &mut self,
        hook: impl Fn(&mut Conn<'_, S>, &Close) + Send + Sync + 'static,
    ) -> &mut Self {
        self.hooks.close = Some(Box::new(hook));
        self
    }

    /// Calls `hook` for messages of the kind that events do not travel in: binary ones, or with a binary codec text. Without one they
    /// are answered 400. Where there is an [authenticator](Router::auth), those of who is not authenticated, or whose token has ended, are answered 401; no
    /// [middleware](Router::with) sees any of them.
    pub fn on_other(
        &mut self,
        hook: impl Fn(&mut Conn<'_, S>, Message<'_>) + Send + Sync + 'static,
    ) -> &mut Self {
        self.hooks.other = Some(Box::new(hook));
        self
    }
}
