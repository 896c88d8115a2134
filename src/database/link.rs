//! A session that only reads, opened when it is needed, and again after it broke, whatever the engine.

use std::fmt;

use super::DatabaseError;

/// A server whose sessions can be opened at any time.
pub(crate) trait Opens: fmt::Debug + Send + Sync {
    /// A session that only reads.
    type Session: fmt::Debug + Send;

    fn session(&self) -> impl Future<Output = Result<Self::Session, DatabaseError>> + Send;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link<S: Opens> {
    server: S,
    session: Option<S::Session>,
}

impl<S: Opens> Link<S> {
    /// To that server; nothing is opened yet.
    pub(crate) fn to(server: S) -> Self {
        Self { server, session: None }
    }

    pub(crate) fn server(&self) -> &S {
        &self.server
    }

    /// The session, to be given back with [`Self::keep`] once it has answered: one that failed is not asked again.
    pub(crate) async fn session(&mut self) -> Result<S::Session, DatabaseError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.server.session().await,
        }
    }

    pub(crate) fn keep(&mut self, session: S::Session) {
        self.session = Some(session);
    }
}
