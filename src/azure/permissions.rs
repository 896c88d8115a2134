//! What this identity may do (Microsoft.Authorization 2022-04-01): effective permissions, deny assignments, role assignments.
//!
//! Effective permissions come from every role of the caller, through groups too, but deny assignments are not taken off
//! them: these are read beside, and win. Three answers, never two: allowed, refused, and not known.

use std::fmt;

use azure_core::http::Url;
use serde::Deserialize;
use serde_json::Value;

use super::{ArmError, Azure, ResourceId, Wait};

const API: &str = "2022-04-01";
/// The principal that stands for everybody in a deny assignment.
const EVERYBODY: &str = "00000000-0000-0000-0000-000000000000";

/// What one role grants, or one deny assignment takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Permission {
    /// Patterns with `*`.
    pub actions: Vec<String>,
    /// Patterns that are left out again.
    pub not_actions: Vec<String>,
    /// The same for data.
    pub data_actions: Vec<String>,
    /// The same for data.
    pub not_data_actions: Vec<String>,
}

/// An action, on the management plane or on data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// `Microsoft.Network/dnsZones/CNAME/write`.
    Action(String),
    /// `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read`.
    Data(String),
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(name) => f.pad(name),
            Self::Data(name) => write!(f, "{name} (data)"),
        }
    }
}

impl Permission {
    /// Whether its patterns take the right in, and do not leave it out again.
    pub fn covers(&self, right: &Right) -> bool {
        let (name, with, without) = match right {
            Right::Action(name) => (name, &self.actions, &self.not_actions),
            Right::Data(name) => (name, &self.data_actions, &self.not_data_actions),
        };
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        any(with) && !any(without)
    }
}

/// `*` stands for anything, slashes too; letters compare without case.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Something that forbids, whatever the roles say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyAssignment {
    /// Its display name.
    pub name: String,
    /// What it takes.
    pub permissions: Vec<Permission>,
    /// Where it was made.
    scope: String,
    /// It holds at its own scope only.
    not_below: bool,
    /// Ids and types of those it concerns.
    principals: Vec<(String, String)>,
    /// Ids and types of those it does not.
    excluded: Vec<(String, String)>,
}

/// Whether something concerns this identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concerns {
    Yes,
    No,
    /// A group is named, and who is in it can not be read here; or we do not know who we are.
    Unknown,
}

impl DenyAssignment {
    fn from_body(body: &Value) -> Option<Self> {
        let properties = body.get("properties")?;
        let list = |key: &str| properties[key].as_array().cloned().unwrap_or_default();
        let id = |it: &Value| it["id"].as_str().unwrap_or_default().to_ascii_lowercase();
        let kind = |it: &Value| it["type"].as_str().unwrap_or_default().to_owned();
        let permissions = list("permissions").into_iter().map(serde_json::from_value);
        Some(Self {
            name: properties["denyAssignmentName"].as_str().unwrap_or("without a name").to_owned(),
            permissions: permissions.collect::<Result<_, _>>().ok()?,
            scope: properties["scope"].as_str().unwrap_or_default().to_owned(),
            not_below: properties["doNotApplyToChildScopes"] == true,
            principals: list("principals").iter().map(|it| (id(it), kind(it))).collect(),
            excluded: list("excludePrincipals").iter().map(|it| (id(it), kind(it))).collect(),
        })
    }

    /// Whether it holds at `scope`, for which it was listed.
    fn reaches(&self, scope: &ResourceId) -> bool {
        let same = |own: &str| own.trim_end_matches('/').eq_ignore_ascii_case(scope.as_str());
        !self.not_below || same(&self.scope)
    }

    /// Whether it concerns the principal of that object id.
    fn concerns(&self, principal: Option<&str>) -> Concerns {
        let is_own = |(id, _): &(String, String)| {
            principal.is_some_and(|principal| principal.eq_ignore_ascii_case(id))
        };
        let group = |(_, kind): &(String, String)| kind.eq_ignore_ascii_case("Group");
        let named = self.principals.iter().any(|it| is_own(it) || it.0 == EVERYBODY);
        if self.excluded.iter().any(is_own) {
            Concerns::No
        } else if principal.is_none() || named && self.excluded.iter().any(group) {
            Concerns::Unknown
        } else if named {
            Concerns::Yes
        } else if self.principals.iter().any(group) {
            Concerns::Unknown
        } else {
            Concerns::No
        }
    }
}

/// A role that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleAssignment {
    /// The role's definition.
    pub definition: ResourceId,
    /// Where.
    pub scope: String,
    /// It holds under a condition only, which nobody evaluates here.
    pub conditional: bool,
}

/// What is known of one right at one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A role grants it and nothing denies it.
    Yes,
    /// No role grants it.
    No,
    /// The deny assignment of that name takes it away.
    Denied(String),
    /// The deny assignment of that name may.
    Unknown(String),
}

/// Everything that decides about rights at one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// By role.
    pub granted: Vec<Permission>,
    /// In no order.
    pub denied: Vec<DenyAssignment>,
    /// Object id of this identity, where its token says.
    pub principal: Option<String>,
}

impl Rights {
    /// Whether this identity holds `right`.
    pub fn holds(&self, right: &Right) -> Held {
        if !self.granted.iter().any(|permission| permission.covers(right)) {
            return Held::No;
        }
        let mut unknown = None;
        for deny in &self.denied {
            if !deny.permissions.iter().any(|permission| permission.covers(right)) {
                continue;
            }
            match deny.concerns(self.principal.as_deref()) {
                Concerns::Yes => return Held::Denied(deny.name.clone()),
                Concerns::Unknown => unknown = Some(deny.name.clone()),
                Concerns::No => {}
            }
        }
        unknown.map_or(Held::Yes, Held::Unknown)
    }
}

impl Azure {
    /// What decides about rights at `scope`: a subscription, a group or a resource.
    pub(crate) async fn rights(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
    ) -> Result<Rights, ArmError> {
        Ok(Rights {
            granted: self.permissions(wait, scope).await?,
            denied: self.deny_assignments(wait, scope).await?,
            principal: self.principal().await?,
        })
    }

    /// What the roles of this identity grant at `scope`, those of its groups too.
    pub async fn permissions(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
    ) -> Result<Vec<Permission>, ArmError> {
        let url = self.authorization(scope, "permissions", None).await?;
        let items = self.arm().await?.list(wait, url).await?;
        let read = items.into_iter().map(|item| {
            serde_json::from_value(item).map_err(|error| ArmError::Unreadable {
                what: format!("permissions at {scope}"),
                cause: error.to_string(),
            })
        });
        read.collect()
    }

    /// Deny assignments at `scope` and above; what is denied below it is no matter of the scope.
    pub async fn deny_assignments(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
    ) -> Result<Vec<DenyAssignment>, ArmError> {
        let url = self.authorization(scope, "denyAssignments", Some("atScope()")).await?;
        let items = self.arm().await?.list(wait, url).await?;
        let read = items.iter().map(|item| {
            DenyAssignment::from_body(item).ok_or_else(|| ArmError::Unreadable {
                what: format!("deny assignments at {scope}"),
                cause: "one lacks its properties".to_owned(),
            })
        });
        let mut read = read.collect::<Result<Vec<_>, _>>()?;
        read.retain(|deny| deny.reaches(scope));
        Ok(read)
    }

    /// Roles given to a principal, directly or through groups, at `scope`, above and below.
    pub async fn role_assignments(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
        principal: &str,
    ) -> Result<Vec<RoleAssignment>, ArmError> {
        let filter = format!("assignedTo('{principal}')");
        let url = self.authorization(scope, "roleAssignments", Some(&filter)).await?;
        let items = self.arm().await?.list(wait, url).await?;
        let read = items.iter().map(|item| {
            let text = |key: &str| item["properties"][key].as_str().unwrap_or_default();
            Ok(RoleAssignment {
                definition: ResourceId::parse(text("roleDefinitionId"))?,
                scope: text("scope").to_owned(),
                conditional: !text("condition").is_empty(),
            })
        });
        read.collect()
    }

    /// The name of a role; none when there is no such role.
    pub async fn role_name(
        &self,
        wait: &mut Wait<'_>,
        definition: &ResourceId,
    ) -> Result<Option<String>, ArmError> {
        let read = self.get(wait, definition, API).await?;
        Ok(read.and_then(|body| body["properties"]["roleName"].as_str().map(str::to_owned)))
    }

    async fn authorization(
        &self,
        scope: &ResourceId,
        what: &str,
        filter: Option<&str>,
    ) -> Result<Url, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/{what}");
        let mut url = self.arm().await?.url(&path, API);
        if let Some(filter) = filter {
            url.query_pairs_mut().append_pair("$filter", filter);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};

    fn action(name: &str) -> Right {
        Right::Action(name.to_owned())
    }

    #[test]
    fn a_star_stands_for_anything_and_letters_have_no_case() {
        for (pattern, name, fits) in [
            ("*", "Microsoft.Network/dnsZones/write", true),
            ("*/read", "Microsoft.Network/dnsZones/read", true),
            ("*/read", "Microsoft.Network/dnsZones/write", false),
            ("microsoft.network/*/WRITE", "Microsoft.Network/dnsZones/CNAME/write", true),
            ("Microsoft.Network/dnsZones/*", "Microsoft.Network/dnsZones/CNAME/write", true),
            ("Microsoft.Network/dnsZones/*", "Microsoft.Network/dnsZones", false),
            ("Microsoft.Network/*/dnsZones/*/write", "Microsoft.Network/dnsZones/write", false),
            ("Microsoft.Network/dnsZones/write", "Microsoft.Network/dnsZones/write", true),
            ("Microsoft.Network/dnsZones/write", "Microsoft.Network/dnsZones/write2", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn what_one_role_leaves_out_another_may_grant() {
        let role = |actions: &[&str], not: &[&str]| Permission {
            actions: actions.iter().map(|&it| it.to_owned()).collect(),
            not_actions: not.iter().map(|&it| it.to_owned()).collect(),
            ..Permission::default()
        };
        let contributor = role(&["*"], &["Microsoft.Authorization/*/Write"]);
        let mut rights = Rights { granted: vec![contributor], denied: vec![], principal: None };
        let lock = action("Microsoft.Authorization/locks/write");
        assert_eq!(rights.holds(&action("Microsoft.Network/dnsZones/write")), Held::Yes);
        assert_eq!(rights.holds(&lock), Held::No);
        assert_eq!(rights.holds(&Right::Data("a/b/read".to_owned())), Held::No);
        rights.granted.push(role(&["Microsoft.Authorization/locks/*"], &[]));
        assert_eq!(rights.holds(&lock), Held::Yes);
    }

    fn deny(principals: &Value, excluded: &Value) -> DenyAssignment {
        let body = json!({ "properties": { "denyAssignmentName": "stack", "principals": principals,
            "excludePrincipals": excluded, "permissions": [{ "actions": ["*/delete"] }] } });
        DenyAssignment::from_body(&body).expect("a deny assignment")
    }

    #[test]
    fn a_deny_assignment_wins_and_an_unreadable_group_is_unknown() {
        let everybody = json!([{ "id": EVERYBODY, "type": "SystemDefined" }]);
        let me = json!([{ "id": "ME", "type": "ServicePrincipal" }]);
        let group = json!([{ "id": "g", "type": "Group" }]);
        let other = json!([{ "id": "you", "type": "User" }]);
        for (principals, excluded, expected) in [
            (&everybody, json!([]), Held::Denied("stack".to_owned())),
            (&everybody, me.clone(), Held::Yes),
            // Somebody is left out; it may be a group of ours.
            (&everybody, group.clone(), Held::Unknown("stack".to_owned())),
            (&me, json!([]), Held::Denied("stack".to_owned())),
            (&group, json!([]), Held::Unknown("stack".to_owned())),
            (&other, json!([]), Held::Yes),
        ] {
            let all = Permission { actions: vec!["*".to_owned()], ..Permission::default() };
            let denied = vec![deny(principals, &excluded)];
            let principal = Some("me".to_owned());
            let rights = Rights { granted: vec![all], denied, principal };
            assert_eq!(rights.holds(&action("a/b/delete")), expected, "{principals} {excluded}");
            assert_eq!(rights.holds(&action("a/b/write")), Held::Yes);
        }
    }

    #[tokio::test]
    async fn a_deny_assignment_that_does_not_reach_below_is_left_out() {
        let own = "/subscriptions/s/resourceGroups/RG-crm";
        let deny = |scope: &str, not_below: bool| {
            json!({ "properties": { "denyAssignmentName": scope, "scope": scope,
                "doNotApplyToChildScopes": not_below, "permissions": [] } })
        };
        let all =
            [deny("/subscriptions/s", true), deny("/subscriptions/s", false), deny(own, true)];
        let (azure, _, mut wait, _) = world([Answer::json(200, &json!({ "value": all }))]);
        let scope = ResourceId::parse(&own.to_lowercase()).expect("an id");
        let found = azure.deny_assignments(&mut wait, &scope).await.expect("read");
        let names: Vec<_> = found.iter().map(|deny| deny.name.as_str()).collect();
        assert_eq!(names, ["/subscriptions/s", own]);
    }

    #[tokio::test]
    async fn rights_are_read_over_all_pages_at_the_scope() {
        let next = "https://management.azure.com/next";
        let (azure, script, mut wait, _) = world([
            Answer::json(200, &json!({ "value": [{ "actions": ["*/read"] }], "nextLink": next })),
            Answer::json(200, &json!({ "value": [{ "actions": ["a/write"], "notActions": [] }] })),
            Answer::json(200, &json!({ "value": [] })),
        ]);
        let scope = azure.scope("rg-crm").expect("an id");
        let rights = azure.rights(&mut wait, &scope).await.expect("read");
        assert_eq!((rights.granted.len(), rights.principal), (2, None));
        let lines = script.lines();
        assert!(
            lines[0].contains(
                "rg-crm/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
            ),
            "{lines:?}"
        );
        assert!(lines[2].contains("denyAssignments") && lines[2].contains("atScope"), "{lines:?}");
    }
}
