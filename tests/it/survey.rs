//! Every system call of a cutover that a fault can be put into: looked up in runs to which nothing happened.
//!
//! strace counts per thread (see `strace`), so the N-th call of a name in a whole run is the one of the thread that gets
//! there first. The calls of other threads that this leaves out are all at files. They are reached in a run that was killed
//! after some of its records and is taken up, where the threads are new and only the calls at that file are counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::Lab;
use crate::strace::{CUTOVER, Call, Point, traced};

/// Records after which a run is killed and taken up.
const TAKEN_UP_AFTER: [u64; 5] = [1, 12, 24, 36, 48];

/// A call as it compares between runs: its name, its place, and how many like it come later.
pub(crate) type Same = (String, String, usize);

/// See the module.
pub(crate) struct Survey {
    pub(crate) whole: Vec<Call>,
    taken_up: Vec<(u64, Vec<Call>)>,
}

impl Survey {
    /// Runs the cutover and takes it up, with nothing put into it.
    pub(crate) fn take(scenario: &str, names: &[&str]) -> Self {
        let run = |after: Option<u64>| {
            let lab = Lab::new(scenario);
            if let Some(records) = after {
                lab.run(CUTOVER, &["--die-at", &format!("after-record:{records}")]);
            }
            let (ended, calls) = traced(&lab, names, None);
            ended.expect(0);
            calls
        };
        let taken_up = TAKEN_UP_AFTER.map(|records| (records, run(Some(records))));
        Self { whole: run(None), taken_up: taken_up.into() }
    }

    /// The calls of a run like the one of that point.
    fn reference(&self, point: &Point) -> &[Call] {
        let records = point.at.as_ref().map(|(records, _)| *records);
        let taken_up = self.taken_up.iter().find(|(after, _)| Some(*after) == records);
        taken_up.map_or(&self.whole, |(_, calls)| calls)
    }

    /// The first call that was struck, as it compares; `calls` end soon after it.
    pub(crate) fn struck(&self, point: &Point, calls: &[Call]) -> Option<Same> {
        let at = calls.iter().position(|call| call.struck)?;
        let call = &calls[at];
        let all = self.reference(point).iter().filter(|it| like(it, call)).count();
        let before = calls[..at].iter().filter(|it| like(it, call)).count();
        Some((call.name.clone(), call.place.clone(), all.saturating_sub(before + 1)))
    }

    /// Points that strike every wanted call, and nothing but wanted calls; those of some names `by_file` only.
    pub(crate) fn points(&self, wanted: impl Fn(&Call) -> bool, by_file: &[&str]) -> Vec<Point> {
        let mut missing: BTreeSet<Same> =
            numbered(&self.whole, &wanted).into_iter().map(|(_, same)| same).collect();
        let mut points = Vec::new();
        let names: BTreeSet<_> = self.whole.iter().map(|call| &call.name).collect();
        for name in names.into_iter().filter(|name| !by_file.contains(&name.as_str())) {
            for (nth, struck) in by_count(&self.whole, |call| call.name == *name) {
                if struck.iter().all(|&at| wanted(&self.whole[at])) {
                    points.push(Point { call: name.clone(), nth, at: None });
                    missing.remove(&same(&self.whole, struck[0]));
                }
            }
        }
        points.extend(self.taken_up(missing, wanted));
        points
    }

    /// Points in runs taken up that strike these calls, as far as they come there.
    pub(crate) fn taken_up(
        &self,
        mut missing: BTreeSet<Same>,
        wanted: impl Fn(&Call) -> bool,
    ) -> Vec<Point> {
        let mut points = Vec::new();
        for (records, calls) in &self.taken_up {
            let inside = calls.iter().filter(|call| call.inside && wanted(call));
            let files: BTreeSet<_> = inside.map(|call| (&call.name, &call.place)).collect();
            for (name, place) in files {
                let own = |call: &Call| call.name == *name && call.place == *place;
                for (nth, struck) in by_count(calls, own) {
                    if missing.remove(&same(calls, struck[0])) {
                        let at = Some((*records, place.clone()));
                        points.push(Point { call: name.clone(), nth, at });
                    }
                }
            }
        }
        points
    }

    /// Every wanted call of a whole run.
    pub(crate) fn all(&self, wanted: impl Fn(&Call) -> bool) -> BTreeSet<Same> {
        numbered(&self.whole, &wanted).into_iter().map(|(_, same)| same).collect()
    }
}

fn like(one: &Call, other: &Call) -> bool {
    one.name == other.name && one.place == other.place
}

fn same(calls: &[Call], at: usize) -> Same {
    let call = &calls[at];
    let later = calls[at + 1..].iter().filter(|it| like(it, call)).count();
    (call.name.clone(), call.place.clone(), later)
}

fn numbered(calls: &[Call], wanted: impl Fn(&Call) -> bool) -> Vec<(usize, Same)> {
    let wanted = calls.iter().enumerate().filter(|(_, call)| wanted(call));
    wanted.map(|(at, _)| (at, same(calls, at))).collect()
}

/// For each count that a thread comes to: the calls, in order, that are a thread's so-manieth of these.
fn by_count(calls: &[Call], of: impl Fn(&Call) -> bool) -> BTreeMap<usize, Vec<usize>> {
    let (mut counts, mut found) = (BTreeMap::new(), BTreeMap::<usize, Vec<usize>>::new());
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| of(call)) {
        let count = counts.entry(call.thread).or_insert(0);
        *count += 1;
        found.entry(*count).or_default().push(at);
    }
    found
}

#[test]
fn what_a_second_thread_does_is_reached_in_a_run_taken_up() {
    let call = |thread, place: &str| Call {
        thread,
        name: "write".to_owned(),
        place: place.to_owned(),
        inside: true,
        struck: false,
    };
    let survey = Survey {
        whole: vec![call(1, "a"), call(1, "a"), call(2, "b"), call(2, "b")],
        taken_up: vec![(7, vec![call(1, "a"), call(2, "b")])],
    };
    let point = |nth, at: Option<&str>| Point {
        call: "write".to_owned(),
        nth,
        at: at.map(|it| (7, it.to_owned())),
    };
    let points = survey.points(|_| true, &[]);
    assert_eq!(points, [point(1, None), point(2, None), point(1, Some("b"))]);
    assert_eq!(survey.all(|_| true).len(), 4);
    assert_eq!(survey.points(|call| call.place == "b", &[]), [point(1, Some("b"))]);
}
