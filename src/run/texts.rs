//! The texts of a fact that came from outside: answers of servers, output of children, words of people.
//!
//! A fact passes here before it is journalled, so that no secret becomes durable, whatever a step, a server or a library
//! has put into an error. What a run is recognised by stays as it is: ids, keys, classes, times, the plan. An intent
//! stays too, since it must say exactly what is restored; one that holds a secret is refused before it becomes a fact.

use serde_json::{Map, Value};

use super::{Event, Evidence, StepError, Verdict};

/// What to write instead of a text; none where it may stay.
pub type Instead<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Event {
    /// Replaces its texts.
    pub fn replace_texts(&mut self, instead: Instead<'_>) {
        match self {
            Self::Sent { sent, .. } => {
                // A handle that is not the one that came is none; the target is then found by what the intent says.
                for handle in [&mut sent.operation_url, &mut sent.request_id] {
                    if handle.as_deref().is_some_and(|text| instead(text).is_some()) {
                        *handle = None;
                    }
                }
            }
            Self::Done { observed, .. } => value(observed, instead),
            Self::NotDone { why, .. }
            | Self::StepSkipped { why, .. }
            | Self::RollbackStarted { why }
            | Self::StepInDoubt { evidence: why, .. } => text(why, instead),
            Self::StayedUnknown { verdict, .. } => match verdict {
                Verdict::Done { observed } => value(observed, instead),
                Verdict::Unknown { evidence } => text(evidence, instead),
                Verdict::NotDone => {}
            },
            Self::Asked { question, .. } => text(&mut question.ask, instead),
            Self::PersonActed(request) => text(&mut request.comment, instead),
            Self::StepSucceeded { outputs, evidence, .. } => {
                for output in outputs.values_mut() {
                    value(output, instead);
                }
                for Evidence { check, verdict, detail, .. } in evidence {
                    for it in [check, verdict, detail] {
                        text(it, instead);
                    }
                }
            }
            Self::StepFailed { failure, .. } | Self::UndoFailed { failure, .. } => {
                error(failure, instead);
            }
            Self::RunStarted(_)
            | Self::RunResumed { .. }
            | Self::PlanChanged { .. }
            | Self::TailRepaired { .. }
            | Self::StageStarted { .. }
            | Self::StepWaiting { .. }
            | Self::StepStarted { .. }
            | Self::Intent { .. }
            | Self::ReadingExpired { .. }
            | Self::StepHeld { .. }
            | Self::PointOfNoReturnCrossed { .. }
            | Self::UndoStarted { .. }
            | Self::StepUndone { .. }
            | Self::RunStopped { .. }
            | Self::RunEnded { .. } => {}
        }
    }
}

fn error(failure: &mut StepError, instead: Instead<'_>) {
    let StepError { attempted, known, causes, hint, .. } = failure;
    let texts = [attempted, known].into_iter().chain(causes).chain(hint);
    texts.for_each(|it| text(it, instead));
}

fn text(text: &mut String, instead: Instead<'_>) {
    if let Some(other) = instead(text) {
        *text = other;
    }
}

fn value(value: &mut Value, instead: Instead<'_>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        // A pin or a code may come back as a number.
        Value::Number(number) => {
            if let Some(other) = instead(&number.to_string()) {
                *value = Value::String(other);
            }
        }
        Value::String(it) => text(it, instead),
        Value::Array(items) => items.iter_mut().for_each(|item| self::value(item, instead)),
        Value::Object(fields) => {
            if fields.keys().any(|name| instead(name).is_some()) {
                let renamed = std::mem::take(fields).into_iter();
                *fields = renamed
                    .map(|(name, value)| (instead(&name).unwrap_or(name), value))
                    .collect::<Map<_, _>>();
            }
            fields.values_mut().for_each(|field| self::value(field, instead));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::{FailureClass, Sent};

    fn hidden(mut event: Event) -> String {
        event.replace_texts(&|text| {
            let clean = text.replace("hush", "[secret]").replace("8675309", "[secret]");
            (clean != text).then_some(clean)
        });
        let text = serde_json::to_string(&event).expect("an event");
        assert!(!text.contains("hush") && !text.contains("8675309"), "{text}");
        text
    }

    #[test]
    fn no_text_from_outside_is_left_out() {
        let step = || "a".into();
        let failure = StepError::new(FailureClass::Failed, "MIG0001", "send hush", "hush is known")
            .cause("said hush")
            .hint("type hush");
        let observed = json!({ "hush": ["hush", { "pin": 8_675_309 }], "ok": "fine" });
        let text = hidden(Event::Done {
            step: step(),
            key: "k".to_owned(),
            observed: observed.clone(),
            probed: false,
        });
        assert!(
            text.contains(r#""[secret]":["[secret]",{"pin":"[secret]"}],"ok":"fine""#),
            "{text}"
        );
        hidden(Event::StepFailed { step: step(), failure: failure.clone() });
        hidden(Event::UndoFailed { step: step(), failure });
        hidden(Event::StepInDoubt { step: step(), evidence: "hush".to_owned() });
        hidden(Event::StepSucceeded {
            step: step(),
            outputs: [("body".to_owned(), observed)].into(),
            evidence: vec![Evidence {
                check: "hush".to_owned(),
                verdict: "hush".to_owned(),
                detail: "hush".to_owned(),
                holds: true,
            }],
        });
        let sent = Sent {
            operation_url: Some("https://h/hush".to_owned()),
            request_id: Some("r".to_owned()),
        };
        let text = hidden(Event::Sent { step: step(), key: "k".to_owned(), sent });
        assert!(text.contains(r#""request_id":"r""#) && !text.contains("operation_url"), "{text}");
    }
}
