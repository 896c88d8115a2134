//! A credential whose tokens the redactor knows.
//!
//! A server, or a proxy on the way to it, may quote the header it was sent; a token must not come out by that either.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use secrecy::SecretString;

use crate::diagnostic::redact::Redactor;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    inner: Arc<dyn TokenCredential>,
    redactor: Redactor,
}

impl Known {
    pub(super) fn over(
        inner: Arc<dyn TokenCredential>,
        redactor: Redactor,
    ) -> Arc<dyn TokenCredential> {
        Arc::new(Self { inner, redactor })
    }
}

#[async_trait]
impl TokenCredential for Known {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.inner.get_token(scopes, options).await?;
        // A token of fewer than four characters opens nothing.
        let _ = self.redactor.register(&SecretString::from(token.token.secret().to_owned()));
        Ok(token)
    }
}
