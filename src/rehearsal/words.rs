//! What both forms of the certificate say in the same words: pure.

use std::time::Duration;

use super::certificate::{Choice, Count, Matrix};
use super::judge::Deviation;
use super::times::{Cutover, Window};
use crate::report::{count, lasting};

/// What the times are worth.
pub(super) const NOTE: &str = "times are those of the scenario: its data is small, its lag falls as scripted; only waits \
                               that the runbook asks for are as long as on the night";
/// Lines of what a process said last that are worth a place.
const LAST: usize = 8;

/// Seconds in words.
pub(super) fn seconds(seconds: f64) -> String {
    lasting(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `3rd`.
pub(super) fn ordinal(n: u64) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// `12 of 380 points`, or `380 points` where that is all.
pub(super) fn tried(matrix: &Matrix) -> String {
    match (matrix.tried.len(), matrix.points) {
        (tried, all) if tried == all => count(all, "point"),
        (tried, all) => format!("{tried} of {}", count(all, "point")),
    }
}

/// Why not every point was tried; nothing where every one was. There may be two reasons.
pub(super) fn gaps(matrix: &Matrix) -> Vec<String> {
    let (tried, all) = (matrix.tried.len(), matrix.points);
    let untried = format!("{} of {} not tried", all.saturating_sub(tried), count(all, "point"));
    let mut gaps = match matrix.choice {
        Choice::Every => Vec::new(),
        Choice::Sample(n) => {
            vec![format!(
                "sampled: every {} point of each series; {untried}",
                ordinal(n.get() as u64)
            )]
        }
        Choice::Named => vec![format!("only points that were named; {untried}")],
    };
    if !matrix.is_complete() {
        gaps.push(format!("incomplete: interrupted after {tried} of {}", matrix.chosen));
    }
    gaps
}

/// `0 deviations`.
pub(super) fn verdict(deviated: usize) -> String {
    count(deviated, "deviation")
}

/// `10 same, 2 not reached`.
pub(super) fn in_words(count: Count) -> String {
    let parts = [
        (count.same, "same"),
        (count.not_reached, "not reached"),
        (count.stopped_for_person, "stopped for a person"),
        (count.deviated, "deviated"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// `4m12s from pause[crm] to switch[crm]`.
pub(super) fn cutover(it: &Cutover) -> String {
    format!("{} from {} to {}", seconds(it.span.sandbox_seconds), it.paused_by, it.confirmed_by)
}

/// When it is open, and what of it is kept for going back.
pub(super) fn agreed(window: &Window) -> String {
    format!(
        "{:.0} to {:.0}, the last {} kept for rollback",
        window.opens,
        window.closes,
        seconds(window.rollback_reserve_seconds)
    )
}

/// `Ok`: it fits.
pub(super) fn fit(window: &Window) -> Result<String, String> {
    let (until, spare) = (window.last_needed, window.spare_seconds);
    if spare < 0.0 {
        return Err(format!(
            "does not fit: needed until {until:.0}, {} into the rollback reserve",
            seconds(-spare)
        ));
    }
    Ok(format!("fits: needed until {until:.0}, {} before the rollback reserve", seconds(spare)))
}

/// A deviation in one line.
pub(super) fn told(deviation: &Deviation) -> String {
    match deviation {
        Deviation::Ending { expected, found, .. } => format!("ended with {found}, not {expected}"),
        Deviation::World(it) => {
            let value = |value: &Option<serde_json::Value>| {
                value.as_ref().map_or("nothing".to_owned(), ToString::to_string)
            };
            format!("{}: {} instead of {}", it.at, value(&it.found), value(&it.expected))
        }
        Deviation::Changes { change, expected, found } => {
            format!("{change}: changed {}, not {}", times(*found), times(*expected))
        }
        Deviation::LostOrders { application, orders } => {
            format!("{application} lost orders {orders:?}")
        }
        Deviation::Unannounced(change) => format!("{change}: changed without an intent before it"),
    }
}

fn times(n: usize) -> String {
    match n {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

/// The last lines that a process said before it ended otherwise.
pub(super) fn last_words(deviation: &Deviation) -> Vec<&str> {
    let Deviation::Ending { said, .. } = deviation else { return Vec::new() };
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinal_reads_as_it_is_spoken() {
        let said = [1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 24, 111, 113].map(ordinal);
        let endings = said.map(|it| it[it.len() - 2..].to_owned());
        let wanted = ["st", "nd", "rd", "th", "th", "th", "th", "st", "nd", "rd", "th", "th", "th"];
        assert_eq!(endings, wanted);
    }
}
