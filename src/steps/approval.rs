//! `approval`: a go or no-go by people. Nobody answering is a no, never a yes.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Outcome, PerformCx, Preview, Step, StepCx, StepError};
use crate::clock::advance;
use crate::plan::{Class, KindSpec, Role, Span};
use crate::run::{Answer, Evidence, FailureClass, Question, RecordedEffect, Repeat, Undo, Verdict};

/// Parameters of `approval`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// What is asked.
    pub ask: String,
    /// How many different people must say yes; one no is a no.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub approvers: u32,
    /// Who may answer; anybody when empty.
    #[serde(default)]
    pub from: Vec<String>,
    /// After this time without enough answers the answer is no. A run taken up again within it asks on, later it asks anew.
    #[serde(default)]
    pub expires: Option<Span>,
}

const fn one() -> u32 {
    1
}

/// The kind.
pub const KIND: Kind = Kind {
    spec: KindSpec {
        name: "approval",
        summary: "Ask people for a go or no-go",
        docs: "Asks at the prompt, and waits for `migrate approve` from any terminal. Every answer is recorded with who gave it and \
               what they wrote. `approvers` different people must say yes; one no refuses, and so does `expires`.\n\n\
               A refusal ends the step as refused (exit 4); nothing was changed by it. Names in `from` are login names as the \
               operating system tells them: this records who answered, it does not prove it.",
        example: include_str!("../../examples/steps/approval.yaml"),
        class: Class::Check,
        repeat: Repeat::Repeatable,
        undo: Undo::LeavesInPlace,
        roles: &[Role::Approves],
        outputs: &["approved_by", "comments"],
        open_outputs: false,
        schema: || schemars::schema_for!(With),
        check: |from| {
            let with: With = erased_serde::deserialize(from)?;
            with.valid().map_err(serde::de::Error::custom)
        },
        describe,
    },
    build: |with| {
        let with: With = super::read(with)?;
        with.valid()?;
        Ok(Box::new(with))
    },
};

fn describe(with: &Value) -> Vec<String> {
    let needed = with["approvers"].as_u64().unwrap_or(1);
    let ask = with["ask"].as_str().unwrap_or("?");
    let plural = if needed == 1 { "person says" } else { "people say" };
    vec![format!("{needed} {plural} yes to \"{ask}\"")]
}

impl With {
    fn valid(&self) -> Result<(), String> {
        match self.approvers {
            0 => Err("`approvers` is 0; at least one person must say yes".to_owned()),
            needed if !self.from.is_empty() && needed as usize > self.from.len() => {
                Err(format!("`approvers` is {needed}, but `from` names only {}", self.from.len()))
            }
            _ => Ok(()),
        }
    }

    fn who(&self) -> String {
        match (self.approvers, self.from.is_empty()) {
            (1, true) => "anybody".to_owned(),
            (needed, true) => format!("any {needed} people"),
            (needed, false) => format!("{needed} of {}", self.from.join(", ")),
        }
    }

    fn refusal(&self, answer: &Answer) -> StepError {
        let attempted = format!("get a yes to \"{}\" from {}", self.ask, self.who());
        let known = "nothing was changed by this";
        if answer.people.is_empty() {
            let span = self.expires.map(|span| format!(" within {span}")).unwrap_or_default();
            return StepError::new(FailureClass::Refused, "MIG0506", attempted, known)
                .cause(format!("not enough people answered{span}"))
                .hint("`migrate resume` asks again; raise `expires` if people need longer");
        }
        let said = answer.comments.iter().map(String::as_str).filter(|said| !said.is_empty());
        let why = said.collect::<Vec<_>>().join("; ");
        let why = if why.is_empty() { "no reason given".to_owned() } else { why };
        StepError::new(FailureClass::Refused, "MIG0503", attempted, known)
            .cause(format!("{} said no: {why}", answer.people.join(", ")))
            .hint("settle the reason, then `migrate resume` asks again; or `migrate rollback`")
    }
}

/// A crash does not prolong a question that is still open.
fn expiry(cx: &StepCx, span: Duration) -> Timestamp {
    let now = cx.clock().now();
    let first = advance(cx.first_started, span);
    if first > now { first } else { advance(now, span) }
}

#[async_trait]
impl Step for With {
    async fn preview(&self, _cx: &StepCx) -> Result<Preview, StepError> {
        let expiry = self.expires.map(|span| format!(", within {span}")).unwrap_or_default();
        let asks = Evidence {
            check: self.ask.clone(),
            verdict: "will ask".to_owned(),
            detail: format!("{} must say yes{expiry}", self.who()),
            holds: true,
        };
        Ok(Preview { changes: Vec::new(), readings: vec![asks] })
    }

    async fn perform(&self, cx: &mut PerformCx<'_>) -> Result<Outcome, StepError> {
        let question = Question {
            ask: self.ask.clone(),
            approvers: self.approvers,
            from: self.from.clone(),
            expires: self.expires.map(|span| expiry(cx, span.duration())),
        };
        cx.progress.say(format!("waits for {} to answer: {}", self.who(), self.ask));
        let answer = cx.effects.ask(question).await?;
        if !answer.approved {
            return Err(self.refusal(&answer));
        }
        let said = answer.comments.iter().map(String::as_str).filter(|said| !said.is_empty());
        let said = said.collect::<Vec<_>>().join("; ");
        let approved = Evidence {
            check: self.ask.clone(),
            verdict: "approved".to_owned(),
            detail: format!(
                "by {}{}{said}",
                answer.people.join(", "),
                if said.is_empty() { "" } else { ": " }
            ),
            holds: true,
        };
        let outputs = [("approved_by", json!(answer.people)), ("comments", json!(answer.comments))];
        Ok(Outcome {
            outputs: outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            evidence: vec![approved],
        })
    }

    async fn probe(&self, _cx: &StepCx, _effect: &RecordedEffect) -> Verdict {
        // Asking declares no effect.
        Verdict::NotDone
    }

    async fn undo(
        &self,
        _cx: &mut PerformCx<'_>,
        _effect: &RecordedEffect,
    ) -> Result<(), StepError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    fn bench() -> Bench {
        let with = json!({ "ask": "Go?", "approvers": 2, "from": ["ada", "bob"], "expires": "2h" });
        Bench::new("approval", &with, &json!({}))
    }

    fn say(bench: &Bench, approved: bool, people: &[&str], comments: &[&str]) {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let answer = Answer { approved, people: texts(people), comments: texts(comments) };
        *bench.effects.answer.lock().expect("unpoisoned") = Some(answer);
    }

    #[tokio::test]
    async fn a_yes_says_who_gave_it() {
        let bench = bench();
        say(&bench, true, &["ada", "bob"], &["", "lag is 0"]);
        let outcome = bench.perform().await.expect("approved");
        assert_eq!(outcome.evidence[0].detail, "by ada, bob: lag is 0");
        assert_eq!(outcome.outputs["approved_by"], json!(["ada", "bob"]));
        let asked = bench.effects.asked.lock().expect("unpoisoned");
        assert_eq!(
            asked[0].expires,
            Some(advance(bench.cx.first_started, Duration::from_hours(2)))
        );
    }

    #[tokio::test]
    async fn a_no_and_no_answer_are_refusals() {
        let bench = bench();
        let nobody = bench.perform().await.expect_err("nobody answered");
        assert_eq!((nobody.class, nobody.code.as_str()), (FailureClass::Refused, "MIG0506"));
        say(&bench, false, &["bob"], &["not tonight"]);
        let refused = bench.perform().await.expect_err("refused");
        assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Refused, "MIG0503"));
        assert_eq!(refused.causes, ["bob said no: not tonight"]);
        assert!(bench.effects.recorded().is_empty(), "asking is no effect");
    }

    #[tokio::test]
    async fn the_preview_says_who_must_approve() {
        let bench = bench();
        let preview = bench.step().preview(&bench.cx).await.expect("a preview");
        assert_eq!(preview.readings[0].detail, "2 of ada, bob must say yes, within 2h");
    }

    #[test]
    fn more_approvers_than_people_can_not_be() {
        let with = json!({ "ask": "Go?", "approvers": 2, "from": ["ada"] });
        assert!((KIND.build)(&with).is_err());
    }
}
