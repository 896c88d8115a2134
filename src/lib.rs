//! `migrate` executes cloud-migration runbooks. This page is the guided tour; the README is for whoever uses the program.
//!
//! # Life of a run
//!
//! ```text
//! runbook.yaml -> runbook (YAML with places) -> plan (expanded, ordered, fingerprinted; CAF rules) -> run_started
//!
//! steps, signals, timers, inbox -> Input -> run::decide -> facts    -> journal (append, sync) -> fold -> sinks (report)
//!                                                       -> commands -> engine carries them out, only after that
//! ```
//!
//! 1. [`cli`] reads the command line; [`runbook`] and [`plan`] turn YAML into a [`plan::Plan`], or into every error at once.
//! 2. [`engine`] takes the locks, opens the [`journal`], and goes round: an input comes in, [`run`] decides by pure functions
//!    which facts follow and what is to be done, the facts are synced, folded into [`run::RunState`] and shown, and only
//!    then something is done.
//! 3. A step ([`steps`]) that is about to change something declares an intent. Once the intent is on disk the engine hands out a
//!    [`journal::EffectPermit`]; every function that changes anything outside takes one. No permit, no change: it does not compile.
//! 4. What the target answered is read back and becomes the fact `done`. A lost reply leaves the effect in doubt; a probe, which
//!    only reads, settles it, or a person does.
//! 5. Resume is no mode of its own: read the journal, fold, classify what is in doubt, go round as before. Rollback takes
//!    effects back through intents of their own, the last one first. A dry run has no journal, hence no permits.
//!
//! # Map
//!
//! | module | what | imports of its own kind |
//! |---|---|---|
//! | [`cli`] | arguments, exit codes, one file per subcommand | everything |
//! | [`report`] | what people and programs see: sinks of the one stream of facts | `engine`, `journal`, `run` |
//! | [`rehearsal`] | timed runs, crash matrices, certificates; for `cli` and tests only | `sandbox`, `report`, `journal`, `run` |
//! | [`engine`] | dispatcher, executor, permits, signals, inbox | `steps`, `journal`, `run` |
//! | [`steps`] | one file per step kind, and the list of all | the four below |
//! | [`azure`], [`dns`], [`files`], [`database`] | the outside world, one folder each | `journal` for permits, `run` |
//! | [`http`], [`process`], [`freeze`] | requests, children, watched baselines: for steps | the same |
//! | [`journal`] | format, append, lock, damage | `run` |
//! | [`run`] | facts, fold, decide, recovery; pure | `plan` |
//! | [`plan`], [`runbook`] | YAML to plan; pure | [`diagnostic`] |
//! | [`diagnostic`] | codes, places, hints, redaction | |
//! | [`clock`] | all time, also time that skips | |
//! | [`crash`] | where a rehearsed process kills itself | |
//! | [`sandbox`] | an Azure, a DNS server and applications on loopback; for `cli` and tests only | `crash`, `dns`, `files` |
//!
//! A test over the source tree keeps these directions, and keeps I/O out of the pure ones.
//!
//! # Files on disk
//!
//! All below the state folder (`.migrate`, `--state-dir`, `MIGRATE_STATE_DIR`):
//!
//! ```text
//! runs/<run id>/journal.jsonl   the facts; everything a run knows is folded from here
//!               head.json       count and hash at the last stage end
//!               lock            held by the operating system while an engine lives
//!               inbox/          requests of people, taken up and removed by the engine
//!               progress/       how far bulk effects and watches are
//!               sandbox/        the world of a sandbox run
//! waves/<wave>.lock             one run of a wave at a time
//! ```
//!
//! # Where to begin
//!
//! To add a step kind: copy the file of the nearest one in `src/steps`, add its name to the list in `src/steps/mod.rs` and an example
//! under `examples/steps`; schema, `explain`, completions and the laws every kind must pass follow from the list. To add a CAF
//! rule: the same in `src/plan/rules`. To add a subcommand: one file in `src/cli`, one variant and one arm in `args.rs`.

pub mod azure;
pub mod cli;
pub mod clock;
pub mod crash;
pub mod database;
pub mod diagnostic;
pub mod dns;
pub mod engine;
pub mod files;
pub mod freeze;
pub mod http;
pub mod journal;
pub mod plan;
pub mod process;
pub mod rehearsal;
pub mod report;
pub mod run;
pub mod runbook;
pub mod sandbox;
pub mod steps;
