//! `http.check`: one endpoint answers as it must, now or within a time. Changes nothing.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Evidence, FailureClass, Kind, Outcome, Outputs, PerformCx, Preview, Step, StepCx, StepError,
};
use crate::clock::since;
use crate::dns::{Endpoint, Health, Reading};
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `http.check`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// `http://` or `https://`. The query is never shown.
    #[schemars(with = "String")]
    pub url: url::Url,
    /// Status that is good; any from 200 to 299 when none is given.
    #[serde(default)]
    pub status: Option<u16>,
    /// Text that the body must contain.
    #[serde(default)]
    pub contains: Option<String>,
    /// Expression over `status`, `body` and `json` that must be true: `json.site == "target"`.
    #[serde(default)]
    pub that: Option<String>,
    /// Slowest answer that is good.
    #[serde(default)]
    pub latency_max: Option<Span>,
    /// Look again until the answer is good, this long. Without it, once.
    #[serde(default)]
    pub within: Span,
    /// Pause between two looks.
    #[serde(default = "two_seconds")]
    pub every: Span,
}

const fn two_seconds() -> Span {
    Span::seconds(2)
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "http.check",
        summary: "Check that an HTTP endpoint answers as it must",
        docs: "Asks one URL by GET through the run's DNS and compares status, body, an expression over the JSON body, and \
               latency. With `within` it looks again until the answer is good or the time is up.\n\n\
               No answer is a failure. An expression that does not fit the body is *not compared*, which never passes.\n\n\
               Outputs: `status_text` (what was seen), `latency_ms`.",
        example: include_str!("../../examples/steps/http.check.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Probes],
        outputs: &["status_text", "latency_ms"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: super::check::<With>,
        describe: |with| {
            let url = with["url"].as_str().unwrap_or_default();
            vec![format!("GET {}", url.split('?').next().unwrap_or_default())]
        },
    },
    build: |with| Ok(Box::new(super::read::<With>(with)?)),
};

impl With {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.url.clone(),
            status: self.status,
            contains: self.contains.clone(),
            that: self.that.clone(),
            latency_max: self.latency_max,
        }
    }

    fn evidence(&self, reading: &Reading) -> Evidence {
        Evidence {
            check: self.endpoint().shown(),
            verdict: reading.health.to_string(),
            detail: reading.detail.clone(),
            holds: reading.health == Health::Good,
        }
    }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, cx: &StepCx) -> Result<Preview, StepError> {
        let reading = self.endpoint().read(&cx.world.network).await;
        Ok(Preview { readings: vec![self.evidence(&reading)], ..Preview::default() })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let (endpoint, shown) = (self.endpoint(), self.endpoint().shown());
        let started = cx.clock().steady();
        loop {
            let reading = endpoint.read(&cx.world.network).await;
            if reading.health == Health::Good {
                let milliseconds = reading.latency.map(|latency| latency.as_millis());
                let outputs = Outputs::from([
                    ("status_text".to_owned(), json!(reading.detail)),
                    ("latency_ms".to_owned(), json!(milliseconds)),
                ]);
                return Ok(Outcome { outputs, evidence: vec![self.evidence(&reading)] });
            }
            let waited = since(started, cx.clock().steady());
            if waited >= self.within.duration() {
                return Err(refused(&shown, &reading, self.within));
            }
            cx.progress.say(format!("{shown}: {}; waits up to {}", reading.detail, self.within));
            cx.read.sleep(self.every.duration(), cx.busy).await?;
        }
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

fn refused(shown: &str, reading: &Reading, within: Span) -> StepError {
    StepError::new(
        FailureClass::Refused,
        "MIG0421",
        format!("check {shown}"),
        format!(
            "{} ({}); looked for {within}; nothing was changed",
            reading.detail, reading.health
        ),
    )
    .hint("make the endpoint answer as the step demands, then `migrate resume`")
    .retryable()
}
