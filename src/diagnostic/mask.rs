//! Which lines of a runbook are never shown.
//!
//! A runbook holds references to secrets and no secrets, but an author who has it wrong writes the secret itself, and that
//! is just when a diagnostic would show the line. The decision looks at the text alone, so that it also holds for a file
//! that is not YAML. It hides too much rather than too little.

use std::collections::HashSet;

/// Endings of the names of keys whose values are hidden.
const SECRET_NAMES: [&str; 8] =
    ["password", "passwd", "secret", "secrets", "token", "key", "credential", "connection_string"];

/// Parts of a line that give a secret away wherever they stand: user information in a URL, parts of connection strings
/// and of shared access signatures.
const SECRET_PARTS: [&str; 6] =
    ["password=", "pwd=", "accountkey=", "sharedaccesskey=", "sig=", "-----begin"];

/// Whether the value of a key of this name may be a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|secret| {
        name.strip_suffix(secret).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
            || (*secret != "key" && name.ends_with(secret))
    })
}

/// The numbers, from 1, of the lines of a text that must not be shown.
pub fn hidden_lines(text: &str) -> HashSet<u32> {
    let mut hidden = HashSet::new();
    // Indentation of the key whose value is being hidden.
    let mut under: Option<usize> = None;
    for (number, line) in (1u32..).zip(text.lines()) {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if under.is_some_and(|key| !line.trim().is_empty() && indent <= key) {
            under = None;
        }
        let names_secret = names_secret(line);
        if names_secret && under.is_none() {
            under = Some(indent);
        }
        if under.is_some() || holds_secret(line) {
            hidden.insert(number);
        }
    }
    hidden
}

/// Whether some `name:` of the line is the name of a secret.
fn names_secret(line: &str) -> bool {
    line.match_indices(':').any(|(at, _)| {
        let before = line[..at].trim_end_matches([' ', '"', '\'']);
        let name_from = before
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        is_secret_name(before[name_from..].trim_start_matches('-'))
    })
}

fn holds_secret(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let user_in_url = lower.find("://").is_some_and(|at| {
        let rest = &lower[at + 3..];
        let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        authority.contains('@') && authority.contains(':')
    });
    user_in_url || SECRET_PARTS.iter().any(|part| lower.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["password", "client_secret", "API-Token", "account_key", "key", "dbpassword"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["monkey", "keys", "to", "value", "key_vault", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn lines_below_a_secret_key_are_hidden() {
        let text = "wave: w\nsecrets:\n  crm: hunter2\n\n  more: |\n    deep\nvars:\n  a: 1\n  token: x\n  b: {password: y}\n  \
                    c: postgres://me:pw@host/db\n  d: ok\n";
        let mut hidden: Vec<u32> = hidden_lines(text).into_iter().collect();
        hidden.sort_unstable();
        assert_eq!(hidden, [2, 3, 4, 5, 6, 9, 10, 11]);
    }
}
