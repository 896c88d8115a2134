//! The generated clients of `azure_mgmt_resources`, run over our one HTTP pipeline.
//!
//! Those clients belong to an older `azure_core`. Here its `HttpClient` hands each request to the caller's task, which
//! sends it like any other: same token, same throttling, same rules about repeating a change. The older library's
//! own retries are off, and the token it asks for never leaves this file: the pipeline below puts the real one on.
//! Paths, api-versions and request bodies are the generated ones; answers are read from the pipeline's [`Reply`].

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{Method, Url};
use azure_core_legacy as legacy;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Arm, ArmError, Call, Reply, Wait};
use crate::journal::EffectPermit;

/// Where a generated client is pointed at.
#[derive(Debug)]
pub(in crate::azure) struct Parts {
    pub(in crate::azure) endpoint: legacy::Url,
    pub(in crate::azure) credential: Arc<dyn legacy::auth::TokenCredential>,
    pub(in crate::azure) scopes: Vec<String>,
    pub(in crate::azure) options: legacy::ClientOptions,
}

type Handed = (legacy::Request, oneshot::Sender<Reply>);

#[derive(Debug)]
struct Bridge(mpsc::Sender<Handed>);

#[async_trait]
impl legacy::HttpClient for Bridge {
    async fn execute_request(&self, request: &legacy::Request) -> legacy::Result<legacy::Response> {
        let (answer, reply) = oneshot::channel();
        let gone = || legacy::Error::message(legacy::error::ErrorKind::Other, "no reply");
        self.0.send((request.clone(), answer)).await.map_err(|_| gone())?;
        let reply = reply.await.map_err(|_| gone())?;
        let status = legacy::StatusCode::try_from(reply.status).map_err(|_| gone())?;
        let mut headers = legacy::headers::Headers::new();
        for (name, value) in reply.headers.iter() {
            headers.insert(name.as_str().to_owned(), value.as_str().to_owned());
        }
        let body = futures::stream::once(async move { Ok(reply.body) });
        Ok(legacy::Response::new(status, headers, Box::pin(body)))
    }
}

/// Satisfies the generated clients; the pipeline below authenticates.
#[derive(Debug)]
struct NoToken;

#[async_trait]
impl legacy::auth::TokenCredential for NoToken {
    async fn get_token(&self, _: &[&str]) -> legacy::Result<legacy::auth::AccessToken> {
        let token = legacy::auth::Secret::new("set by the pipeline");
        let expires = azure_core::time::OffsetDateTime::UNIX_EPOCH;
        Ok(legacy::auth::AccessToken::new(token, expires))
    }
    async fn clear_cache(&self) -> legacy::Result<()> {
        Ok(())
    }
}

impl Arm {
    /// Runs one generated operation. With a permit its request is a change under that permit, else a read.
    /// `operation` must send exactly one request, as the generated `send()` does.
    pub(in crate::azure) async fn generated<F, T>(
        &self,
        wait: &mut Wait<'_>,
        permit: Option<&EffectPermit>,
        operation: impl FnOnce(Parts) -> F,
    ) -> Result<Reply, ArmError>
    where
        F: Future<Output = legacy::Result<T>>,
    {
        let (hand, mut handed) = mpsc::channel::<Handed>(1);
        let transport = legacy::TransportOptions::new(Arc::new(Bridge(hand)));
        let parts = Parts {
            endpoint: self.endpoint.clone(),
            credential: Arc::new(NoToken),
            scopes: vec!["set by the pipeline".to_owned()],
            options: legacy::ClientOptions::new(transport).retry(legacy::RetryOptions::none()),
        };
        let mut operation = pin!(operation(parts));
        let unsent = |error: &legacy::Error| ArmError::Unreadable {
            what: "a request of our own".to_owned(),
            cause: error.to_string(),
        };
        let (request, answer) = tokio::select! {
            Some(handed) = handed.recv() => handed,
            ended = &mut operation => return match ended {
                Err(error) => Err(unsent(&error)),
                Ok(_) => Err(ArmError::Settings("the operation sent no request".to_owned())),
            },
        };
        let reply = self.send(wait, &self.call_of(permit, &request)?).await?;
        // The generated code sees its answer; what it makes of it is not needed, the reply is read by the caller.
        drop(answer.send(reply.clone()));
        Ok(reply)
    }

    fn call_of(
        &self,
        permit: Option<&EffectPermit>,
        request: &legacy::Request,
    ) -> Result<Call, ArmError> {
        let method = match request.method().as_ref() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            other => return Err(ArmError::Settings(format!("no such HTTP method: {other}"))),
        };
        let url: Url = request.url().clone();
        let mut call = match permit {
            Some(permit) => self.change(permit, method, url),
            None => Call::read(method, url),
        };
        if let legacy::Body::Bytes(bytes) = request.body() {
            call.body = Some(Bytes::clone(bytes)).filter(|bytes| !bytes.is_empty());
        }
        Ok(call)
    }
}
