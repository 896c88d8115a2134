//! Random faults: what may go wrong on the way to a provider goes wrong, and the run has to come to the same world.
//!
//! Each trial meets one to three faults of the scenario's vocabulary, drawn by a seed from the requests that the whole run
//! makes: the same seed over the same runbook draws the same. A run that stops for it is resumed, as an operator would, a
//! few times. Whatever it says in between, in the end the world is that of the whole run, with no change made twice, or it
//! stopped for a person where its steps promise no better. What another hand changes is not drawn: what is right after that
//! is a person's decision.

use std::collections::BTreeMap;
use std::time::Instant;

use super::RehearsalError;
use super::certificate::Tried;
use super::judge::{Outcome, judge};
use super::left::stable;
use super::point::Point;
use super::side_by_side::{Pace, side_by_side};
use super::trial::{Ended, How, Setting, Trial};
use super::whole::Whole;
use super::words::ordinal;
use crate::journal;
use crate::run::Event;
use crate::sandbox::random::Random;
use crate::sandbox::scenario::{Fault, FaultKind};
use crate::sandbox::{Scenario, ledger};

/// Faults that one trial meets at most.
const FAULTS: usize = 3;
/// How often the same request may come before its fault; more often only a wait asks, and how often that is varies.
const NTH: usize = 3;
/// How often an operator resumes before calling somebody.
const RESUMES: usize = 3;

/// The faults of one trial.
pub fn draw(seed: u64, trial: usize, calls: &[String]) -> Vec<Fault> {
    let requests = requests(calls);
    if requests.is_empty() {
        return Vec::new();
    }
    let mut random = Random::from(seed.wrapping_add((trial as u64).wrapping_mul(0x9e37_79b9)));
    let wanted = 1 + random.below(FAULTS);
    let drawn = (0..wanted).map(|_| {
        let ((method, path), count) = random.one_of(&requests);
        Fault {
            method: Some(method.clone()),
            path: path.clone(),
            nth: 1 + random.below(*count) as u64,
            fault: random.one_of(&kinds(method, path)).clone(),
        }
    });
    drawn.collect()
}

/// What the whole run asked for, by the names that a scenario has for it, and how often.
fn requests(calls: &[String]) -> Vec<((String, String), usize)> {
    let mut counts = BTreeMap::new();
    for (method, path) in calls.iter().filter_map(|call| request(call)) {
        *counts.entry((method, path)).or_insert(0) += 1;
    }
    counts.into_iter().map(|(request, count)| (request, count.min(NTH))).collect()
}

/// Method and path of a call: ARM's without its host, an application's as `crm@target/health`.
fn request(call: &str) -> Option<(String, String)> {
    let (method, address) = call.split_once(' ')?;
    let (host, path) = address.split_at(address.find('/')?);
    if !["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&method) {
        return None;
    }
    let path = match host.split('.').next()? {
        "localhost" => stable(path).to_owned(),
        "hooks" => address.to_owned(),
        label => match label.rsplit_once('-') {
            Some((app, place @ ("source" | "target"))) => format!("{app}@{place}{path}"),
            // Where the name points to when it is asked is the run's own doing.
            _ => format!("{label}@"),
        },
    };
    Some((method.to_owned(), path))
}

/// What may come of such a request.
fn kinds(method: &str, path: &str) -> Vec<FaultKind> {
    let mut kinds =
        vec![FaultKind::Throttled { retry_after: 5 }, FaultKind::ServerError, FaultKind::ReplyLost];
    if method != "GET" && path.starts_with('/') {
        kinds.push(FaultKind::Conflict);
    }
    if method == "PUT" && path.contains("/deployments/") {
        kinds.push(FaultKind::OperationFails);
    }
    kinds
}

/// A fault in words: `reply lost at the 2nd PUT CNAME/crm`.
fn told(fault: &Fault) -> String {
    let kind = fault.fault.name().replace('_', " ");
    let method = fault.method.as_deref().unwrap_or_default();
    format!("{kind} at the {} {method} {}", ordinal(fault.nth), last_parts(&fault.path))
}

/// The end of a path that tells one from another.
fn last_parts(path: &str) -> String {
    let parts: Vec<_> = path.trim_end_matches('/').rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Tries these draws of `seed`, each in `scenario` with its faults.
pub async fn faults(
    (setting, scenario): (&Setting, &Scenario),
    whole: &Whole,
    (seed, trials): (u64, &[usize]),
    pace: Pace<'_>,
) -> Result<Vec<Tried>, RehearsalError> {
    side_by_side(trials, pace, |_, trial| {
        let faults = draw(seed, *trial, &whole.calls);
        met(setting, scenario, whole, Point::Faults { seed, trial: *trial }, faults)
    })
    .await
}

async fn met(
    setting: &Setting,
    scenario: &Scenario,
    whole: &Whole,
    point: Point,
    faults: Vec<Fault>,
) -> Result<Tried, RehearsalError> {
    let began = Instant::now();
    let at = faults.iter().map(told).collect::<Vec<_>>().join("; ");
    let mut world = scenario.clone();
    world.faults.extend(faults);
    let trial = Trial::in_world(setting, &point.to_string(), &world)?;
    let mut ended = trial.run(&["--json"]).await?;
    let mut ends = vec![ended.how.to_string()];
    while ends.len() <= RESUMES && may_be_resumed(&ended) {
        ended = trial.take_up().await?;
        ends.push(ended.how.to_string());
    }
    let mut transcript = failures(&trial)?;
    transcript.push(ends.join(", resumed: "));
    let met = has_met(&trial)?;
    let outcome = Outcome { ended: ended.how, said: ended.stderr, left: trial.left().await? };
    let none: &[String] = &[];
    Ok(Tried {
        point,
        at,
        verdict: judge(&whole.outcome, met.then_some(none), &outcome),
        transcript,
        real_seconds: began.elapsed().as_secs_f64(),
        rollback_sandbox_seconds: None,
    })
}

/// It ended with less than was asked for, and not because only a person can go on.
fn may_be_resumed(ended: &Ended) -> bool {
    matches!(ended.how, How::Exit(code) if ![0, 5, 6].contains(&code))
}

/// What failed on the way, step by step: which lane came first is not told, as that is no part of what happened.
fn failures(trial: &Trial<'_>) -> Result<Vec<String>, RehearsalError> {
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Some(dir) = trial.run_dir() {
        journal::read(&dir, |record, _| {
            if let Event::StepFailed { step, failure, .. } = &record.event {
                failures.entry(step.to_string()).or_default().push(failure.code.clone());
            }
        })?;
    }
    let told =
        failures.into_iter().map(|(step, codes)| format!("{step} failed: {}", codes.join(", ")));
    Ok(told.collect())
}

/// Whether a request met one of the faults.
fn has_met(trial: &Trial<'_>) -> Result<bool, RehearsalError> {
    let Some(dir) = trial.run_dir() else { return Ok(false) };
    Ok(ledger::read(&dir.join("sandbox"))?.iter().any(|entry| entry.fault.is_some()))
}
