//! What a handler begins that goes on beside messages.

use std::time::Duration;

use super::Conn;
use crate::shard::{Call, Job, SpawnError, Work};

impl<S: Send + 'static> Conn<'_, S> {
    /// Runs a future beside the shard: to wait for an answer of another service, for instance. What it is
    /// to say to clients it says through [handles](Conn::handle). It ends with the connection, when it is dropped
    /// wherever it waits.
    ///
    /// It is polled on this connection's shard, between the messages of others: like a handler, it must not
    /// block; what would, belongs on a thread of its own. In an engine that was started inside a tokio
    /// runtime it may use that runtime's timers and sockets and `tokio::spawn` (feature `http` or `tokio`). A
    /// panic in it costs the one connection (closed with 1011).
    ///
    /// ```
    /// # async fn look_up(name: String) -> String { name }
    /// # fn example(conn: &mut throng::Conn<'_, ()>) -> Result<(), throng::SpawnError> {
    /// let handle = conn.handle();
    /// conn.spawn(async move {
    ///     let found = look_up("key".to_owned()).await;
    ///     let _ = handle.send(&*found);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the connection is not open, or has as many jobs as
    /// [`max_jobs_per_connection`](field@crate::Config::max_jobs_per_connection) allows; the future is dropped.
    pub fn spawn<F>(&mut self, future: F) -> Result<Job, SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_then(future, |_, ()| {})
    }

    /// Runs a future beside the shard, and calls `then` with the connection in hand and what came of it,
    /// if the connection is still open. See [`Conn::spawn`].
    ///
    /// ```
    /// # async fn look_up(name: String) -> u32 { 7 }
    /// # fn example(conn: &mut throng::Conn<'_, u32>) -> Result<(), throng::SpawnError> {
    /// conn.spawn_then(look_up("key".to_owned()), |conn, found| {
    ///     *conn.state_mut() += found;
    ///     conn.send(&*found.to_string());
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Conn::spawn`].
    pub fn spawn_then<F, T>(
        &mut self,
        future: F,
        then: impl FnOnce(&mut Conn<'_, S>, T) + Send + 'static,
    ) -> Result<Job, SpawnError>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.core.spawn(self.key, work(future, then), None, false)
    }

    /// Runs a future that goes on when the connection ends.
    pub(crate) fn spawn_to_outlive<F>(&mut self, future: F) -> Result<Job, SpawnError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Whoever has the socket then has it in vain: nothing would wake the shard for it.
        let hang_up = |conn: &mut Conn<'_, S>, ()| {
            conn.link().into_iter().for_each(|link| link.hang_up());
        };
        self.core.spawn(self.key, work(future, hang_up), None, true)
    }

    /// The same with a limit, if there is one: when that time is over, the future is dropped and
    /// `overdue` called instead.
    pub(crate) fn spawn_within<F, T>(
        &mut self,
        limit: Option<Duration>,
        future: F,
        then: impl FnOnce(&mut Conn<'_, S>, T) + Send + 'static,
        overdue: impl FnOnce(&mut Conn<'_, S>) + Send + 'static,
    ) -> Result<Job, SpawnError>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let limit = limit.map(|limit| (limit, with_conn::<S>(overdue)));
        self.core.spawn(self.key, work(future, then), limit, false)
    }

    /// Calls `then` with the connection in hand when so much time has passed, to within a turn, if the
    /// connection is still open.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn example(conn: &mut throng::Conn<'_, bool>) -> Result<(), throng::SpawnError> {
    /// conn.after(Duration::from_secs(5), |conn| {
    ///     if !conn.state() {
    ///         conn.close(throng::CloseCode::POLICY, "you have not said who you are");
    ///     }
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Conn::spawn`].
    pub fn after(
        &mut self,
        delay: Duration,
        then: impl FnOnce(&mut Conn<'_, S>) + Send + 'static,
    ) -> Result<Job, SpawnError> {
        let call = with_conn::<S>(then);
        self.core.call_after(self.key, delay, call)
    }

    /// Ends a job of this connection; returns whether it had not ended. A future is dropped, a call is
    /// not made.
    pub fn cancel(&mut self, job: Job) -> bool {
        self.core.cancel(self.key, job)
    }
}

/// A future, and what is made of its output with the connection in hand.
fn work<S: 'static, T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
    then: impl FnOnce(&mut Conn<'_, S>, T) + Send + 'static,
) -> Work {
    Box::pin(async move {
        let output = future.await;
        with_conn::<S>(move |conn| then(conn, output))
    })
}

/// What a job leaves to be called, on connections with that state.
fn with_conn<S: 'static>(then: impl FnOnce(&mut Conn<'_, S>) + Send + 'static) -> Call {
    Box::new(move |core, key, state| {
        if let Some(state) = state.downcast_mut() {
            then(&mut Conn::new(core, key, state));
        }
    })
}
