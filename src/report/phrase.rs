//! How times, amounts, states and changes are worded, everywhere the same.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::line::Paint;
use crate::run::{
    Ending, Evidence, FailureClass, Intent, Repeat, StepRecord, StepState, Stop, Undo, Waiting,
};

/// `2026-12-05T22:04:11Z`.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `22:04:11Z`, where the day is plain from around it.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// `0.4s`, `42s`, `4m12s`, `1h02m`, `2d04h`: two units at most.
pub fn lasting(duration: Duration) -> String {
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
pub fn count(n: usize, noun: &str) -> String {
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

/// How a step stands in one word. One that was stopped from outside has not failed: `resume` goes on with it.
pub(super) fn standing(step: &StepRecord) -> &'static str {
    if was_stopped(step) { "stopped" } else { word(&step.state) }
}

/// Stopped from outside, at a place from which `resume` goes on: nothing about it has to be decided.
pub(super) fn was_stopped(step: &StepRecord) -> bool {
    let failure = step.failure.as_ref();
    step.state == StepState::Failed
        && failure.is_some_and(|failure| failure.class == FailureClass::Cancelled)
}

/// The same where steps may be left that nobody waited for, as after a second signal.
pub(super) const fn stop_leaving(why: Stop, unfinished: usize) -> &'static str {
    match (why, unfinished) {
        (Stop::Interrupted, 1..) => "interrupted in the middle of a step",
        (Stop::Terminated, 1..) => "terminated in the middle of a step",
        _ => stop(why),
    }
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

/// More names than this below a provider say less than the last two.
const DEEP: usize = 4;

/// `replace CNAME/crm: ttl 3600 -> 60`.
pub(super) fn intent(intent: &Intent) -> String {
    format!("{} {}: {}", intent.verb, place(&intent.target), change(&intent.before, &intent.after))
}

/// A word as a shell takes it: `'switch[crm]'`.
pub fn typed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// An ARM id without what every id of the run shares, a deep one by its last two names; anything else as it is.
pub(super) fn place(target: &str) -> &str {
    let below = target.rsplit_once("/providers/").and_then(|(_, below)| below.split_once('/'));
    match below {
        Some((_, rest)) => match rest.rmatch_indices('/').map(|(at, _)| at).nth(1) {
            Some(at) if rest.split('/').count() > DEEP => &rest[at + 1..],
            _ => rest,
        },
        None if target.starts_with("/subscriptions/") => {
            target.rsplit_once('/').map_or(target, |(_, last)| last)
        }
        None => target,
    }
}

/// Text of a step as people read it: ARM ids without their common part, moments without fractions of a second. The
/// journal and `--json` keep every character.
pub(super) fn readable(text: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_end_matches([',', ';', ':', ')', '.']);
        let mark = &word[core.len()..];
        match core.parse::<Timestamp>() {
            Ok(at) => format!("{}{mark}", moment(at)),
            Err(_) if core.starts_with("/subscriptions/") => format!("{}{mark}", place(core)),
            Err(_) => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Before -> after, only what differs when both are mappings.
pub(super) fn change(before: &Value, after: &Value) -> String {
    let text = match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut found = Vec::new();
            differences(old, new, &mut found);
            if found.is_empty() {
                return "already so".to_owned();
            }
            found.join(", ")
        }
        (Value::Null, after) => brief(after),
        (before, after) => format!("{} -> {}", brief(before), brief(after)),
    };
    shortened(&text, 160)
}

/// One `key before -> after` for each leaf that differs, named by its last key.
fn differences(old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<String>) {
    // The age of a reading, and the tag that guards it, are no part of the change.
    let reading = |key: &str, value: &Value| {
        key == "etag" || value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok())
    };
    let gone = old.iter().filter(|(key, value)| !new.contains_key(*key) && !reading(key, value));
    let keys = new.keys().chain(gone.map(|(key, _)| key));
    for key in keys.filter(|key| old.get(*key) != new.get(*key)) {
        match (old.get(key), new.get(key)) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => differences(old, new, found),
            (old, new) => {
                let side = |value: Option<&Value>| value.map_or("-".to_owned(), brief);
                found.push(format!("{key} {} -> {}", side(old), side(new)));
            }
        }
    }
}

/// A value in a few words.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.len() > 48 && text.starts_with('/') => tail(&readable(text)),
        // A digest is told apart by its beginning.
        Value::String(text) if text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            shortened(text, 13)
        }
        Value::String(text) => shortened(&readable(text), 72),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => {
            shortened(&items.iter().map(brief).collect::<Vec<_>>().join(" "), 72)
        }
        Value::Object(map) => {
            let entry = |(key, value)| format!("{key} {}", brief(value));
            map.iter().map(entry).collect::<Vec<_>>().join(", ")
        }
        scalar => scalar.to_string(),
    }
}

/// The last names of a long path: what tells it apart stands at its end.
fn tail(path: &str) -> String {
    match path.rmatch_indices('/').nth(2) {
        Some((at, _)) if at > 0 => format!("…{}", &path[at..]),
        _ => path.to_owned(),
    }
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
    let check = readable(check);
    if detail.is_empty() {
        format!("{check}: {verdict}")
    } else {
        format!("{check}: {verdict} ({})", readable(detail))
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
        let record =
            |ttl, name| json!({"properties": {"TTL": ttl, "CNAMERecord": {"cname": name}}});
        assert_eq!(change(&record(3600, "a"), &record(60, "a")), "TTL 3600 -> 60");
        let switch = json!({"refuses_writes": false, "read_at": "2026-12-05T21:35:01.8Z"});
        assert_eq!(
            change(&switch, &json!({"refuses_writes": true})),
            "refuses_writes false -> true"
        );
    }

    #[test]
    fn a_long_path_is_told_by_its_end() {
        let path = "/srv/state/runs/wave-1-20261121T091440Z-1386/sandbox/estate/source/crm/share";
        assert_eq!(change(&Value::Null, &json!({"source": path})), "source …/source/crm/share");
    }

    #[test]
    fn an_arm_id_is_cut_to_what_tells_it_apart() {
        let id = "/subscriptions/0/resourceGroups/rg-dns/providers/Microsoft.Network/dnsZones/contoso.example/CNAME/crm";
        assert_eq!(place(id), "dnsZones/contoso.example/CNAME/crm");
        let item = "/Subscriptions/0/resourceGroups/rg/providers/Microsoft.RecoveryServices/vaults/v/replicationFabrics/f/replicationProtectionContainers/c/replicationMigrationItems/crm-db";
        assert_eq!(place(item), "replicationMigrationItems/crm-db");
        assert_eq!(place("./share"), "./share");
        assert_eq!(place("/subscriptions/0/resourceGroups/rg-crm"), "rg-crm");
        let said = format!("lock at {id}: held (since 2026-12-05T21:35:27.894323389Z, 3 left).");
        assert_eq!(
            readable(&said),
            "lock at dnsZones/contoso.example/CNAME/crm: held (since 2026-12-05T21:35:27Z, 3 left)."
        );
    }
}
