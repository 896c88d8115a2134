//! SIGKILL at every call of a real cutover that writes to its journal, or that sends or reads a message; then `resume`: no
//! acknowledged order is lost, the pause stands without the process, and a rollback finds everything as it was. On each engine.
//!
//! A message that is about to be sent was not sent, one whose answer is about to be read was: the calls on both sides of each change.
//! How many there are differs from run to run by the questions that are asked again; what lies beyond the last call kills nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::child::{Chance, try_all};
use crate::lab::{Lab, cases};
use crate::strace::{self, Call, Injection, Point, traced_with};
use crate::writing::Client;

/// A source and a target that follows it, of an engine.
pub(crate) trait Pair: Sized {
    const ENGINE: &str;
    /// One whose target nobody may write to yet.
    fn closed(what: &str) -> Option<Self>;
    /// The runbook of its cutover.
    fn cutover(&self, lab: &Lab) -> String;
    /// A client whose orders arrive.
    fn client(&self) -> Client;
    /// Waits until the client writes at the target.
    fn until_over(&self);
    /// What clients have written, at the source and at the target, in order.
    fn ids(&self) -> [Vec<i64>; 2];
    /// Everything that a pause may change at the source.
    fn catalogue(&self) -> String;
}

const CALLS: [&str; 4] = ["write", "fdatasync", "sendto", "recvfrom"];
/// The pause has ended well.
const PAUSED: &str = r#"{"step_succeeded":{"step":"pause","#;

/// The calls that the world outside, or a later process, can see, as points.
fn points(calls: &[Call]) -> Vec<Point> {
    let (mut counts, mut found) = (BTreeMap::new(), BTreeSet::new());
    for Call { thread, name, place, .. } in calls {
        let nth = counts.entry((*thread, name.as_str())).and_modify(|it| *it += 1).or_insert(1);
        if place == "journal.jsonl" || place == "socket" || place.starts_with("TCP") {
            found.insert(Point { call: name.clone(), nth: *nth, at: None });
        }
    }
    found.into_iter().collect()
}

/// A cutover under a writing client, killed there; whether it was.
fn survives<P: Pair>(point: &Point) -> Option<bool> {
    let pair = P::closed("kill -9 at every call of a cutover")?;
    let before = pair.catalogue();
    let lab = Lab::new("");
    let run = ["run".to_owned(), pair.cutover(&lab)];
    let client = pair.client();
    let kill = Injection { point: point.clone(), fault: "signal=KILL".to_owned(), lasts: false };
    let (ended, _) = traced_with(&lab, run.to_vec(), &CALLS, Some(&kill));
    let is_paused = lab.journal().is_some_and(|journal| journal.contains(PAUSED));
    let kept = is_paused.then(|| pair.ids()[0].len());
    match (ended.code(), lab.journal()) {
        (Some(0), _) => {}
        (None, Some(_)) => drop(lab.migrate(["resume", &lab.run_id()]).expect(0)),
        (None, None) => {
            lab.forget_runs();
            lab.migrate(run).expect(0);
        }
        (Some(_), _) => panic!("{kill}: {}", ended.said()),
    }
    pair.until_over();
    let written = client.stop();
    let [source, target] = pair.ids();
    written.judge(&source, &target);
    if let Some(kept) = kept {
        assert_eq!(source.len(), kept, "{kill}: the pause died with the process");
    }
    lab.migrate(["rollback", &lab.run_id(), "--yes"]).expect(8);
    assert_eq!(pair.catalogue(), before, "{kill}");
    Some(ended.code().is_none())
}

/// The calls of a cutover to which nothing happens.
fn survey<P: Pair>() -> Option<Vec<Point>> {
    let pair = P::closed("kill -9 at every call of a cutover")?;
    let lab = Lab::new("");
    let run = ["run".to_owned(), pair.cutover(&lab)];
    let (ended, calls) = traced_with(&lab, run.to_vec(), &CALLS, None);
    assert_eq!(ended.code(), Some(0), "{}", ended.said());
    Some(points(&calls))
}

fn at_every_record_and_message<P: Pair>() {
    if strace::missing("kill -9 at every call of a cutover") {
        return;
    }
    let Some(all) = survey::<P>() else { return };
    let (seed, count) = (Chance::seed(), all.len());
    let points = Chance::of(seed, 0).sample(all, cases(4, usize::MAX));
    println!("seed {seed}: {} of {count} calls on {}", points.len(), P::ENGINE);
    let killed = AtomicUsize::new(0);
    try_all("kills of a cutover", points.len(), 2, |case| {
        let was_killed = survives::<P>(&points[case]) == Some(true);
        killed.fetch_add(usize::from(was_killed), Ordering::Relaxed);
        Ok(())
    });
    let killed = killed.into_inner();
    println!("{killed} kills, 0 deviations");
    assert!(killed > 0, "nothing was killed");
}

#[test]
fn a_cutover_of_postgres_survives_a_kill_at_every_record_and_message() {
    at_every_record_and_message::<crate::postgres::replicas::Replicas>();
}

#[test]
fn a_cutover_of_mariadb_survives_a_kill_at_every_record_and_message() {
    at_every_record_and_message::<crate::mariadb::replicas::Replicas>();
}
