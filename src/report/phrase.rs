//! How times, amounts, states and changes are worded, everywhere the same.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::line::Paint;
use crate::run::{Ending, Evidence, Intent, Repeat, StepState, Stop, Undo, Waiting};

/// `2026-12-05T22:04:11Z`.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `22:04:11Z`, where the day is plain from around it.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// `0.4s`, `42s`, `4m12s`, `1h02m`, `2d04h`: two units at most.
pub(super) fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `1 step`, `2 steps`.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A step's state in one word, and how it is painted.
pub(super) const fn state(state: &StepState) -> (&'static str, Paint) {
    match state {
        StepState::Pending => ("pending", Paint::Dim),
        StepState::Waiting(Waiting::Hold) => ("on hold", Paint::Warn),
        StepState::Waiting(_) => ("waiting", Paint::Warn),
        StepState::Running(_) => ("running", Paint::Strong),
        StepState::Succeeded => ("succeeded", Paint::Good),
        StepState::Skipped => ("skipped", Paint::Dim),
        StepState::Failed => ("failed", Paint::Bad),
        StepState::InDoubt => ("in doubt", Paint::Bad),
        StepState::Held => ("held", Paint::Bad),
        StepState::Undoing => ("undoing", Paint::Warn),
        StepState::Undone => ("undone", Paint::Good),
        StepState::UndoFailed => ("not undone", Paint::Bad),
    }
}

/// A step's state in one word.
pub const fn word(state: &StepState) -> &'static str {
    self::state(state).0
}

/// Why the engine stopped.
pub(super) const fn stop(stop: Stop) -> &'static str {
    match stop {
        Stop::Interrupted => "interrupted at a safe point",
        Stop::Terminated => "terminated at a safe point",
        Stop::Paused => "paused",
        Stop::Aborted => "aborted",
        Stop::WaitsForPerson => "waiting for a person",
        Stop::Halted => "halted",
    }
}

/// How the run ended.
pub(super) const fn ending(ending: Ending) -> (&'static str, Paint) {
    match ending {
        Ending::Completed => ("completed", Paint::Good),
        Ending::RolledBack => ("rolled back", Paint::Warn),
        Ending::RollbackIncomplete => ("rollback incomplete", Paint::Bad),
    }
}

/// `guarded, restores`.
pub(super) fn classes(repeat: Repeat, undo: Undo) -> String {
    let repeat = match repeat {
        Repeat::Guarded => "guarded",
        Repeat::Repeatable => "repeatable",
        Repeat::Ask => "not repeatable",
    };
    let undo = match undo {
        Undo::Restores => "restores",
        Undo::LeavesInPlace => "leaves in place",
        Undo::Irreversible => "irreversible",
    };
    format!("{repeat}, {undo}")
}

/// `replace CNAME/crm: ttl 3600 -> 60`.
pub(super) fn intent(intent: &Intent) -> String {
    format!("{} {}: {}", intent.verb, place(&intent.target), change(&intent.before, &intent.after))
}

/// A word as a shell takes it: `'switch[crm]'`.
pub(super) fn typed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// An ARM id without what every id of the run shares; anything else as it is.
pub(super) fn place(target: &str) -> &str {
    let Some((_, below)) = target.rsplit_once("/providers/") else { return target };
    below.split_once('/').map_or(target, |(_, rest)| rest)
}

/// Before -> after, only what differs when both are mappings.
pub(super) fn change(before: &Value, after: &Value) -> String {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return if before.is_null() {
            brief(after)
        } else {
            format!("{} -> {}", brief(before), brief(after))
        };
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let differing: Vec<_> = new
        .keys()
        .chain(gone)
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let side =
                |map: &serde_json::Map<String, Value>| map.get(key).map_or("-".to_owned(), brief);
            format!("{key} {} -> {}", side(old), side(new))
        })
        .collect();
    if differing.is_empty() {
        "already so".to_owned()
    } else {
        shortened(&differing.join(", "), 120)
    }
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(" "),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| format!("{key} {}", brief(value)))
            .collect::<Vec<_>>()
            .join(", "),
        scalar => scalar.to_string(),
    };
    shortened(&text, 72)
}

/// At most `limit` characters; an ellipsis says that more was there.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit - 1).chain(['…']).collect(),
    }
}

/// `rows in customers: equal (4000 = 4000)`.
pub(super) fn evidence(evidence: &Evidence) -> String {
    let Evidence { check, verdict, detail, .. } = evidence;
    if detail.is_empty() {
        format!("{check}: {verdict}")
    } else {
        format!("{check}: {verdict} ({detail})")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn two_units_at_most() {
        let worded = [0.04, 9.94, 42.0, 252.0, 3_720.0, 187_200.0]
            .map(|seconds| lasting(Duration::from_secs_f64(seconds)));
        assert_eq!(worded, ["0.0s", "9.9s", "42s", "4m12s", "1h02m", "2d04h"]);
    }

    #[test]
    fn only_what_differs_is_shown() {
        let before = json!({"type": "CNAME", "ttl": 3600, "value": "a.example"});
        let after = json!({"type": "CNAME", "ttl": 60, "value": "b.example"});
        assert_eq!(change(&before, &after), "ttl 3600 -> 60, value a.example -> b.example");
        assert_eq!(change(&Value::Null, &json!({"level": "ReadOnly"})), "level ReadOnly");
        assert_eq!(change(&json!("on"), &Value::Null), "on -> nothing");
        assert_eq!(change(&before, &before), "already so");
    }

    #[test]
    fn an_arm_id_is_cut_to_what_tells_it_apart() {
        let id = "/subscriptions/0/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example/CNAME/crm";
        assert_eq!(place(id), "dnsZones/contoso.example/CNAME/crm");
        assert_eq!(place("./share"), "./share");
    }
}
