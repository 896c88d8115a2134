//! What people and programs see of a run: consumers of the one stream of facts.
//!
//! Promises: nothing is shown before it is durable; every stop says what was attempted, what is known, which side of the
//! point of no return the run is on and what to type; a closed terminal or pipe silences a sink and never ends a run; no
//! known secret passes. Never decides anything and never asks the world.

mod dry_run;
mod halt;
mod jsonl;
mod lanes;
mod line;
mod narrate;
mod output;
mod overview;
mod pauses;
mod phrase;
mod plain;
mod row;
mod status;
mod summary;
mod terminal;
mod trials;
mod waits;

pub use dry_run::{Foreseen, Scrub, dry_run};
pub use halt::{Advice, Halt};
pub use jsonl::{JsonLines, VERSION};
pub use line::{Line, Paint, Style, page};
pub use narrate::Detail;
pub use output::Output;
pub use overview::{Overview, PersonAnswer, Side, Standing, StepView};
pub use pauses::{TakenBack, WritePause};
pub use phrase::{count, lasting, typed, word};
pub use plain::Plain;
pub use status::{runs, status};
pub use summary::summary;
pub use terminal::Terminal;
pub use trials::Trials;

#[cfg(test)]
mod tests;
