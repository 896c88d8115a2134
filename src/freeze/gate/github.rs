//! A GitHub repository: a ruleset of our name that lets nobody create, move or delete the branches.
//!
//! REST API 2022-11-28, "Rules": <https://docs.github.com/rest/repos/rules>. The token needs the repository permission
//! "Administration", read and write. Nobody may bypass the ruleset; an emergency change is let through by ending the freeze.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Found, GateError, Session, Token, authorization};

/// Rules that together leave a branch where it is.
const RULES: [&str; 3] = ["creation", "update", "deletion"];
/// The most that one page holds.
const PAGE: usize = 100;

/// Branches of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Github {
    /// `owner/name`.
    pub repository: String,
    /// Names or patterns of branches; `~DEFAULT_BRANCH` (the default) and `~ALL` are GitHub's own.
    #[serde(default = "default_branch")]
    pub branches: Vec<String>,
    /// A token that may administer the repository: `{ secret: name }`.
    pub token: Token,
    /// The API. Default `https://api.github.com`; of an Enterprise Server `https://HOST/api/v3`.
    #[serde(default = "api")]
    pub server: String,
}

fn default_branch() -> Vec<String> {
    vec!["~DEFAULT_BRANCH".to_owned()]
}

fn api() -> String {
    "https://api.github.com".to_owned()
}

pub(super) fn headers(token: &SecretString) -> Result<HeaderMap, GateError> {
    let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, authorization(&bearer)?),
        (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ("x-github-api-version".parse().expect("a header"), HeaderValue::from_static("2022-11-28")),
    ]))
}

impl Github {
    pub(super) fn shown(&self) -> String {
        format!("branches {} of {}", self.branches.join(", "), self.repository)
    }

    pub(super) fn path(&self) -> String {
        format!("/repos/{}/rulesets", self.repository)
    }

    fn refs(&self) -> Vec<String> {
        let whole = |branch: &String| match branch.as_str() {
            own if own.starts_with('~') || own.starts_with("refs/") => own.to_owned(),
            name => format!("refs/heads/{name}"),
        };
        self.branches.iter().map(whole).collect()
    }

    pub(super) fn closed(&self, name: &str) -> Value {
        json!({
            "name": name,
            "target": "branch",
            "enforcement": "active",
            "bypass_actors": [],
            "conditions": { "ref_name": { "include": self.refs(), "exclude": [] } },
            "rules": RULES.map(|rule| json!({ "type": rule })),
        })
    }

    pub(super) async fn find(
        &self,
        session: &Session<'_>,
        name: &str,
    ) -> Result<Option<Found>, GateError> {
        for page in 1.. {
            let query = format!("?includes_parents=false&per_page={PAGE}&page={page}");
            let listed = session.get(&(self.path() + &query)).await?;
            let rulesets = listed
                .as_array()
                .ok_or_else(|| GateError::Unreadable("it is no list of rulesets".to_owned()))?;
            if let Some(ours) = rulesets.iter().find(|ruleset| ruleset["name"] == name) {
                let id = ours["id"]
                    .as_u64()
                    .ok_or_else(|| GateError::Unreadable("a ruleset has no id".to_owned()))?;
                // The list says nothing of rules and branches.
                let whole = session.get(&format!("{}/{id}", self.path())).await?;
                return Ok(Some(Found { id: id.to_string(), altered: self.altered(&whole) }));
            }
            if rulesets.len() < PAGE {
                break;
            }
        }
        Ok(None)
    }

    /// In what a ruleset is not as we close it. More rules than ours close it too.
    fn altered(&self, found: &Value) -> Option<String> {
        let texts = |value: &Value| -> Vec<String> {
            let mut texts: Vec<String> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            texts.sort();
            texts
        };
        if found["enforcement"] != "active" {
            return Some(format!("its enforcement is {}", found["enforcement"]));
        }
        let mut refs = self.refs();
        refs.sort();
        let names = &found["conditions"]["ref_name"];
        if texts(&names["include"]) != refs || !texts(&names["exclude"]).is_empty() {
            return Some(format!("it is about {names}"));
        }
        let rules = found["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(rule) = RULES.iter().find(|rule| !rules.iter().any(|it| it["type"] == **rule)) {
            return Some(format!("it has no rule `{rule}`"));
        }
        let bypass = found["bypass_actors"].as_array().is_some_and(|actors| !actors.is_empty());
        bypass.then(|| "somebody may bypass it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Github {
        let written = json!({ "repository": "contoso/crm", "branches": ["main", "release/*"], "token": { "secret": "t" } });
        serde_json::from_value(written).expect("a gate")
    }

    #[test]
    fn what_we_close_is_closed_and_every_weaker_form_is_altered() {
        let closed = gate().closed("migrate-w-freeze");
        assert_eq!(gate().altered(&closed), None);
        let weaker: [(&str, Value); 5] = [
            ("/enforcement", json!("evaluate")),
            ("/conditions/ref_name/include", json!(["refs/heads/main"])),
            ("/conditions/ref_name/exclude", json!(["refs/heads/main"])),
            ("/rules", json!([{ "type": "creation" }, { "type": "deletion" }])),
            ("/bypass_actors", json!([{ "actor_id": 1 }])),
        ];
        for (place, value) in weaker {
            let mut found = closed.clone();
            *found.pointer_mut(place).expect("it is there") = value;
            assert!(gate().altered(&found).is_some(), "{place}");
        }
    }

    #[test]
    fn branches_are_whole_refs_but_for_githubs_own_names() {
        assert_eq!(gate().refs(), ["refs/heads/main", "refs/heads/release/*"]);
        let own = Github { branches: vec!["~ALL".to_owned()], ..gate() };
        assert_eq!(own.refs(), ["~ALL"]);
    }
}
