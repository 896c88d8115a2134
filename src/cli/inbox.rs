//! Requests of people to a run: written into its inbox, taken up by the engine or, when none is alive, by the next resume.

use std::time::Duration;

use super::refusal::Refusal;
use super::runs::Found;
use super::settings::operator;
use super::{Exit, Global, narrate};
use crate::engine::inbox;
use crate::journal;
use crate::run::{PersonRequest, Request};

/// How long a live engine may take to journal a request, in real time, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// A request by whoever types, with an id of its own.
pub(super) fn request(request: Request, comment: &str) -> PersonRequest {
    let id = uuid::Uuid::new_v4().to_string();
    PersonRequest { id, by: operator(), comment: comment.to_owned(), request }
}

/// Hands it over and says what became of it.
pub(super) fn submit(
    global: &Global,
    found: &Found,
    request: Request,
    comment: &str,
) -> Result<Exit, Refusal> {
    let program = global.program();
    if let Some(ending) = found.reading.state.ended {
        return Err(Refusal::new(
            Exit::Refused,
            format!("run {} has ended ({ending:?})", found.run),
        )
        .hint(format!("see how: {program} status {}", found.run)));
    }
    let path = inbox::submit(&found.dir, &self::request(request, comment)).map_err(|error| {
        Refusal::because(Exit::JournalNotWritten, &error)
            .hint(format!("the request was not handed over; is {} writable?", found.dir.display()))
    })?;
    for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
        // The engine may end before it looks again: then nobody takes it up.
        let alive = journal::holder(&found.dir.join("lock")).is_some();
        if !path.exists() {
            narrate(&format!("taken up and journalled by run {}\n", found.run));
            return Ok(Exit::Done);
        }
        if !alive {
            narrate(&format!(
                "kept in the inbox of {}; nothing runs it now\nnext: {program} resume {}\n",
                found.run, found.run
            ));
            return Ok(Exit::Done);
        }
        std::thread::sleep(LOOK);
    }
    narrate(&format!(
        "in the inbox of {}, but not taken up within {} s; it stays there\nnext: {program} status {}\n",
        found.run,
        PATIENCE.as_secs(),
        found.run
    ));
    Ok(Exit::NeedsPerson)
}
