//! `net.check`: names resolve, ports accept connections, TLS certificates verify. Changes nothing and sends no payload.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Evidence, FailureClass, Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::dns::{HostPort, Network};
use crate::plan::{Class, KindSpec, Role};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `net.check`; at least one of the three.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Names that must have an address.
    #[serde(default)]
    pub dns: Vec<String>,
    /// `host:port` that must accept a TCP connection.
    #[serde(default)]
    pub tcp: Vec<HostPort>,
    /// `host:port` whose TLS certificate must verify for the host.
    #[serde(default)]
    pub tls: Vec<HostPort>,
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "net.check",
        summary: "Check that names resolve, ports accept and certificates verify",
        docs: "Looks up every name under `dns`, opens a TCP connection to everything under `tcp`, and shakes TLS hands with \
               everything under `tls`, through the run's DNS. All are tried; the first that fails does not hide the rest.",
        example: include_str!("../../examples/steps/net.check.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Probes],
        outputs: &[],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let all = |key: &str| with[key].as_array().cloned().unwrap_or_default();
            let line = |verb: &'static str| {
                move |it: Value| format!("{verb} {}", it.as_str().unwrap_or_default())
            };
            let dns = all("dns").into_iter().map(line("look up"));
            let tcp = all("tcp").into_iter().map(line("connect to"));
            dns.chain(tcp).chain(all("tls").into_iter().map(line("verify TLS of"))).collect()
        },
    },
    build: |with| {
        let with = super::read::<With>(with)?;
        if with.dns.is_empty() && with.tcp.is_empty() && with.tls.is_empty() {
            return Err("nothing to check: give `dns`, `tcp` or `tls`".to_owned());
        }
        Ok(Box::new(with))
    },
};

impl With {
    async fn look(&self, network: &Network) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        for name in &self.dns {
            let found = network.lookup(name).await.map(|addresses| {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            });
            evidence.push(seen(format!("name {name}"), "resolves", found.map_err(chain)));
        }
        for HostPort { host, port } in &self.tcp {
            let open = network.tcp_connect(host, *port).await.map(|_| String::new());
            evidence.push(seen(format!("TCP {host}:{port}"), "accepts", open.map_err(chain)));
        }
        for HostPort { host, port } in &self.tls {
            let open = network.tls_connect(host, *port).await.map(|_| String::new());
            evidence.push(seen(format!("TLS {host}:{port}"), "verified", open.map_err(chain)));
        }
        evidence
    }
}

fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn seen(check: String, good: &str, found: Result<String, String>) -> Evidence {
    match found {
        Ok(detail) => Evidence { check, verdict: good.to_owned(), detail, holds: true },
        Err(detail) => Evidence { check, verdict: "unreachable".to_owned(), detail, holds: false },
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        Ok(Preview { readings: self.look(&cx.world.network).await, ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let evidence = self.look(&cx.world.network).await;
        let failed: Vec<String> = evidence
            .iter()
            .filter(|it| !it.holds)
            .map(|it| format!("{}: {}", it.check, it.detail))
            .collect();
        if failed.is_empty() {
            return Ok(Outcome { evidence, ..Outcome::default() });
        }
        let mut error = StepError::new(
            FailureClass::Refused,
            "MIG0422",
            format!("reach {} endpoints", evidence.len()),
            format!("{} of them can not be reached; nothing was changed", failed.len()),
        )
        .hint("open the path, then `migrate resume`")
        .retryable();
        error.causes = failed;
        Err(error)
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        Verdict::Unknown { evidence: "a check changes nothing".to_owned() }
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}
