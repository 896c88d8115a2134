//! Asking the person at the keyboard. Standard input is read in its own thread, so that the run goes on meanwhile and an
//! answer given elsewhere closes the question.

use std::io::BufRead as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::settings::operator;
use super::{inbox, narrate};
use crate::engine::Prompt;
use crate::journal::Head;
use crate::run::{PersonRequest, Question, Record, Request, RunState, Sink, StepId, StepState};

/// Cheap to clone: the engine asks through one, the stream of facts closes questions through another.
#[derive(Debug, Clone, Default)]
pub(super) struct AtTheKeyboard(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: Mutex<Vec<Open>>,
    reader: OnceLock<()>,
}

#[derive(Debug)]
struct Open {
    step: StepId,
    ask: String,
    comment: String,
    answers: UnboundedSender<PersonRequest>,
}

/// What a typed line means.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Yes(String),
    No(String),
    Comment(String),
    Nothing,
}

impl Typed {
    /// `yes`, `y`, `no`, `n`, each perhaps with a comment behind it; anything else is a comment to the answer to come.
    fn read(line: &str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once([' ', ',', ':']).unwrap_or((line, ""));
        let rest = rest.trim_start_matches([' ', ',', ':']).to_owned();
        match word.to_lowercase().as_str() {
            "" => Self::Nothing,
            "yes" | "y" => Self::Yes(rest),
            "no" | "n" => Self::No(rest),
            _ => Self::Comment(line.to_owned()),
        }
    }
}

impl AtTheKeyboard {
    fn open(&self) -> MutexGuard<'_, Vec<Open>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the question whose turn it is.
    fn show(&self) {
        if let Some(first) = self.open().first() {
            narrate(&format!("{} [yes/no/comment] ", first.ask));
        }
    }

    fn take(&self, line: &str) {
        let mut open = self.open();
        let Some(first) = open.first_mut() else { return };
        let (step, said) = (first.step.clone(), std::mem::take(&mut first.comment));
        let with = |more: String| match (said.is_empty(), more.is_empty()) {
            (true, _) => more,
            (false, true) => said.clone(),
            (false, false) => format!("{said} {more}"),
        };
        let (request, comment) = match Typed::read(line) {
            Typed::Yes(more) => (Request::Approve { step }, with(more)),
            Typed::No(more) => (Request::Refuse { step }, with(more)),
            Typed::Comment(more) => {
                first.comment = with(more);
                drop(open);
                return self.show();
            }
            Typed::Nothing => {
                first.comment = said;
                drop(open);
                return self.show();
            }
        };
        let answered = open.remove(0);
        // An engine that has ended needs no answer.
        let _ = answered.answers.send(inbox::request(request, &comment));
        drop(open);
        self.show();
    }

    fn read_lines(&self) {
        let this = self.clone();
        self.0.reader.get_or_init(|| {
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines() {
                    let Ok(line) = line else { break };
                    this.take(&line);
                }
                narrate("nobody can answer here any more; answer with: migrate approve\n");
            });
        });
    }
}

impl Prompt for AtTheKeyboard {
    fn ask(
        &self,
        step: &StepId,
        question: &Question,
        head: &Head,
        answers: UnboundedSender<PersonRequest>,
    ) {
        let me = operator().user;
        if !question.from.is_empty() && !question.from.contains(&me) {
            narrate(&format!("{me} is not asked this; {} are\n", question.from.join(", ")));
            return;
        }
        // Whoever approves keeps what was approved: the journal up to here.
        let (step, ask) = (step.clone(), format!("{}\n{head}\n", question.ask));
        let mut open = self.open();
        if open.iter().all(|other| other.step != step) {
            open.push(Open { step, ask, comment: String::new(), answers });
        }
        let is_first = open.len() == 1;
        drop(open);
        if is_first {
            self.show();
        }
        self.read_lines();
    }
}

impl Sink for AtTheKeyboard {
    fn on_record(&mut self, _record: &Record, state: &RunState) {
        let mut open = self.open();
        let first = open.first().map(|it| it.step.clone());
        open.retain(|it| {
            let own = state.step(&it.step);
            own.is_some_and(|own| {
                matches!(own.state, StepState::Running(_)) && own.refused.is_none()
            })
        });
        let moved_on = open.first().map(|it| it.step.clone()) != first;
        drop(open);
        if moved_on {
            self.show();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_carry_a_comment() {
        let read = |line| Typed::read(line);
        assert_eq!(read("yes\n"), Typed::Yes(String::new()));
        assert_eq!(read("Y, lag is zero"), Typed::Yes("lag is zero".to_owned()));
        assert_eq!(read("no: the ERP is down"), Typed::No("the ERP is down".to_owned()));
        assert_eq!(read("nobody is here"), Typed::Comment("nobody is here".to_owned()));
        assert_eq!(read("  "), Typed::Nothing);
    }

    #[test]
    fn a_comment_waits_for_its_answer_and_the_next_question_takes_its_turn() {
        let prompt = AtTheKeyboard::default();
        let (to, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for step in ["go", "close"] {
            let (step, ask) = (StepId::from(step), step.to_owned());
            prompt.open().push(Open { step, ask, comment: String::new(), answers: to.clone() });
        }
        prompt.take("lag is zero");
        prompt.take("yes");
        prompt.take("no");
        let first = answers.try_recv().expect("an answer");
        assert_eq!(first.request, Request::Approve { step: "go".into() });
        assert_eq!(first.comment, "lag is zero");
        let second = answers.try_recv().expect("an answer");
        assert_eq!(second.request, Request::Refuse { step: "close".into() });
        prompt.take("yes");
        assert!(answers.try_recv().is_err(), "nothing is asked any more");
    }
}
