//! The client that keeps writing: numbered orders, one after another, to the name that users use.
//!
//! It asks DNS anew for every order, so it follows a cutover. An order is sent until it is accepted, under the same id,
//! and what was acknowledged is in a durable log. It lives in real time and never holds the sandbox's clock.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::header;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::disk;
use super::super::error::SandboxError;
use super::super::scenario;
use crate::dns::Network;

/// Real time for one order to be answered.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// A client of one application.
#[derive(Debug)]
pub(crate) struct Writer {
    url: String,
    host: String,
    script: scenario::Writer,
    network: Network,
    http: reqwest::Client,
    log: File,
    last: u32,
}

fn log_file(dir: &Path, app: &str) -> PathBuf {
    dir.join(format!("writer-{app}.log"))
}

/// Ids that were acknowledged to the client of `app`, in the sandbox in `dir`.
pub(crate) fn acknowledged(dir: &Path, app: &str) -> Result<Vec<u32>, SandboxError> {
    let path = log_file(dir, app);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(SandboxError::file("read", &path))?;
    // The last line may lack its end: the kill came before the sync, and the order is sent again.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    Ok(whole.filter_map(|line| line.trim_end().parse().ok()).collect())
}

impl Writer {
    /// A client that goes on after its last acknowledged order.
    pub(crate) fn open(
        dir: &Path,
        app: &str,
        script: &scenario::Writer,
        network: &Network,
    ) -> Result<Self, SandboxError> {
        let known = acknowledged(dir, app)?;
        let lines: Vec<_> = known.iter().map(u32::to_string).collect();
        let text = lines.join("\n") + if lines.is_empty() { "" } else { "\n" };
        let path = log_file(dir, app);
        disk::replace(&path, text.as_bytes())?;
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT).no_proxy().build();
        Ok(Self {
            url: format!(":{}/orders", network.port(80)),
            host: format!("{app}.contoso.example"),
            script: script.clone(),
            network: network.clone(),
            http: client.map_err(|error| SandboxError::Certificates(error.to_string()))?,
            log: disk::append_to(&path)?,
            last: known.last().copied().unwrap_or(0),
        })
    }

    /// Sends what is left. `finish` ends the pauses, and then the first refusal ends the client; `stop` ends it at once.
    pub(crate) async fn run(mut self, finish: CancellationToken, stop: CancellationToken) {
        while self.last < self.script.orders {
            let id = self.last + 1;
            // An order sent before may still have gone to where the name pointed then.
            let finishing = finish.is_cancelled();
            let accepted = tokio::select! {
                accepted = self.send(id) => accepted,
                () = stop.cancelled() => return,
            };
            if accepted {
                let line = format!("{id}\n");
                let kept = self.log.write_all(line.as_bytes()).and_then(|()| self.log.sync_data());
                if kept.is_err() {
                    return;
                }
                self.last = id;
            } else if finishing {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(self.script.pause_ms)) => {}
                () = finish.cancelled() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Whether the order was accepted; anything else means to send it again.
    async fn send(&self, id: u32) -> bool {
        let Ok(addresses) = self.network.lookup(&self.host).await else { return false };
        let sent = self
            .http
            .post(format!("http://{}{}", addresses[0], self.url))
            .header(header::HOST.as_str(), &self.host)
            .json(&json!({ "id": id }))
            .send()
            .await;
        sent.is_ok_and(|reply| reply.status().is_success())
    }
}
