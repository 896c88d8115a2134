//! The write side of an attempt: every wish becomes a message to the dispatcher, every permit comes back from it.

use std::borrow::Cow;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Busy;
use crate::diagnostic::redact::Redactor;
use crate::journal::EffectPermit;
use crate::run::{
    Answer, EffectId, FailureClass, Input, Intent, Question, Sent, StepError, StepId,
};
use crate::steps::{Effects, Granted};

/// Who waits for the dispatcher, and for what.
#[derive(Debug)]
pub(super) enum Reply {
    /// A permit, or the news that it has happened before.
    Granted(oneshot::Sender<Result<Granted, StepError>>),
    /// The fact is durable.
    Acknowledged(oneshot::Sender<()>),
    /// People have answered.
    Answered(oneshot::Sender<Answer>),
}

/// One message to the dispatcher.
#[derive(Debug)]
pub(super) struct Message {
    /// What happened.
    pub(super) input: Input,
    /// Who waits.
    pub(super) reply: Option<Reply>,
    /// The sender's task ends with this message; its guard keeps time until the message was dealt with.
    pub(super) last: Option<Busy>,
}

impl Message {
    /// Nobody waits, nothing ends.
    pub(super) fn plain(input: Input) -> Self {
        Self { input, reply: None, last: None }
    }
}

/// Effects of one attempt or of one undo.
pub(super) struct Gate {
    pub(super) step: StepId,
    /// Key of the effect being taken back, while it is.
    pub(super) undoes: Option<String>,
    pub(super) to: mpsc::UnboundedSender<Message>,
    /// An intent with a secret in it is refused.
    pub(super) redactor: Redactor,
}

impl Gate {
    async fn send<T>(
        &self,
        input: Input,
        reply: impl FnOnce(oneshot::Sender<T>) -> Reply,
    ) -> Result<T, StepError> {
        let (answer, answered) = oneshot::channel();
        let message = Message { input, reply: Some(reply(answer)), last: None };
        let gone = || StepError::cancelled("talking to the engine, which is stopping");
        self.to.send(message).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// An intent must be journalled as it is, or it could not be taken back exactly; a secret must not be journalled.
    fn without_secret(&self, intent: &Intent) -> Result<(), StepError> {
        let text = serde_json::to_string(intent).expect("an intent is plain data");
        if matches!(self.redactor.redact(&text), Cow::Borrowed(_)) {
            return Ok(());
        }
        let attempted =
            self.redactor.redact(&format!("{} {}", intent.verb, intent.target)).into_owned();
        let known = "nothing was changed: the journal would have had to hold a secret";
        Err(StepError::new(FailureClass::Refused, "MIG0507", attempted, known)
            .hint("`migrate explain MIG0507` says where the value may stand"))
    }
}

#[async_trait]
impl Effects for Gate {
    async fn intend(&self, intent: Intent) -> Result<Granted, StepError> {
        self.without_secret(&intent)?;
        let undoes = self.undoes.clone();
        let input = Input::Intend { step: self.step.clone(), intent, undoes };
        self.send(input, Reply::Granted).await?
    }

    async fn sent(&self, permit: &EffectPermit, sent: Sent) -> Result<(), StepError> {
        let input = Input::Sent(permit.effect().clone(), sent);
        self.send(input, Reply::Acknowledged).await
    }

    async fn done(&self, permit: EffectPermit, observed: Value) -> Result<(), StepError> {
        let input = Input::Done(permit.effect().clone(), observed);
        self.send(input, Reply::Acknowledged).await
    }

    async fn not_done(&self, permit: EffectPermit, why: &str) -> Result<(), StepError> {
        let input = Input::NotDone(permit.effect().clone(), why.to_owned());
        self.send(input, Reply::Acknowledged).await
    }

    async fn ask(&self, question: Question) -> Result<Answer, StepError> {
        let input = Input::Asks(self.step.clone(), question);
        let answer = self.send(input, Reply::Answered).await;
        // Nobody is asked any more; the question stands, and is asked again on resume.
        answer.map_err(|_| StepError::cancelled("waiting for an answer"))
    }
}

/// The effect a reply belongs to.
pub(super) fn effect_of(input: &Input) -> Option<EffectId> {
    match input {
        Input::Intend { step, intent, .. } => {
            Some(EffectId { step: step.clone(), key: intent.key.clone() })
        }
        Input::Sent(effect, _) | Input::Done(effect, _) | Input::NotDone(effect, _) => {
            Some(effect.clone())
        }
        _ => None,
    }
}
