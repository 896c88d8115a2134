//! A process as the journal remembers it: its id alone may long belong to another one.

use std::fs;

/// Process id, start time in ticks since boot, and the boot it belongs to, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    pub(super) fn of(pid: u32) -> Self {
        let start = stat(pid).map(|(_, start)| start).unwrap_or_default();
        Self(format!("pid:{pid}/{start}/{}", boot()))
    }

    /// Reads what [`Self::as_str`] wrote; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        text.starts_with("pid:").then(|| Self(text.to_owned()))
    }

    /// For the journal.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether that very process still runs. None where this system does not tell.
    pub fn is_running(&self) -> Option<bool> {
        let mut parts = self.0.trim_start_matches("pid:").split('/');
        let (pid, start, then) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        if start.is_empty() || then.is_empty() {
            return None;
        }
        Some(
            boot() == then
                && stat(pid).is_some_and(|(state, began)| state != "Z" && began == start),
        )
    }
}

/// State and start time of a process, on Linux.
fn stat(pid: u32) -> Option<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.to_owned()))
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_its_id_at_another_time_does_not() {
        let own = Identity::of(std::process::id());
        assert_eq!(own.is_running(), Some(true));
        assert_eq!(Identity::parse(own.as_str()), Some(own.clone()));
        let other = Identity(own.as_str().replacen('/', "/1", 1));
        assert_eq!(other.is_running(), Some(false));
    }
}
