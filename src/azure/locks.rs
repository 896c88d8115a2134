//! Management locks (2020-05-01), through the generated client.
//!
//! Locks carry no `ETag`: a lock of ours is recognised by its name and its notes.

use azure_mgmt_resources::package_locks_2020_05 as generated;
use generated::models::{
    ManagementLockObject, ManagementLockProperties, management_lock_properties::Level,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::arm::{Parts, found};
use super::{ArmError, Azure, ResourceId, Wait};
use crate::journal::EffectPermit;

/// What a lock forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LockLevel {
    /// Nothing in the scope can be changed or deleted through ARM.
    ReadOnly,
    /// Nothing in the scope can be deleted through ARM.
    CanNotDelete,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Name, unique in its scope.
    pub name: String,
    /// What it forbids; none for a level this program does not know.
    pub level: Option<LockLevel>,
    /// Why it is there.
    #[serde(default)]
    pub notes: String,
}

/// The service refuses longer notes.
const NOTES: usize = 512;

impl Lock {
    fn body(&self) -> Result<ManagementLockObject, ArmError> {
        let level = match self.level {
            Some(LockLevel::ReadOnly) => Level::ReadOnly,
            Some(LockLevel::CanNotDelete) => Level::CanNotDelete,
            None => return Err(ArmError::Settings(format!("lock `{}` has no level", self.name))),
        };
        let notes = Some(self.notes.chars().take(NOTES).collect::<String>());
        let properties = ManagementLockProperties {
            notes: notes.filter(|notes| !notes.is_empty()),
            ..ManagementLockProperties::new(level)
        };
        Ok(ManagementLockObject::new(properties))
    }

    fn from_body(body: ManagementLockObject) -> Self {
        Self {
            name: body.name.unwrap_or_default(),
            level: match body.properties.level {
                Level::ReadOnly => Some(LockLevel::ReadOnly),
                Level::CanNotDelete => Some(LockLevel::CanNotDelete),
                _ => None,
            },
            notes: body.properties.notes.unwrap_or_default(),
        }
    }
}

fn client(to: Parts) -> generated::management_locks::Client {
    generated::Client::new(to.endpoint, to.credential, to.scopes, to.options)
        .management_locks_client()
}

/// The generated path starts with the scope's own slash.
fn bare(scope: &ResourceId) -> String {
    scope.as_str().trim_start_matches('/').to_owned()
}

impl Azure {
    /// The lock of that name directly at `scope`; none when there is none.
    pub async fn lock(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
        name: &str,
    ) -> Result<Option<Lock>, ArmError> {
        let arm = self.arm().await?;
        let reply =
            arm.generated(wait, None, |to| client(to).get_by_scope(bare(scope), name).send()).await;
        Ok(found(reply)?.map(|reply| reply.read()).transpose()?.map(Lock::from_body))
    }

    /// Every lock that applies at `scope`, inherited and inner ones included, in the service's order.
    pub async fn locks(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
    ) -> Result<Vec<Lock>, ArmError> {
        let arm = self.arm().await?;
        let path = format!("{scope}/providers/Microsoft.Authorization/locks");
        arm.list(wait, arm.url(&path, "2020-05-01"))
            .await?
            .into_iter()
            .map(|value| {
                serde_json::from_value(value).map(Lock::from_body).map_err(|error| {
                    ArmError::Unreadable { what: path.clone(), cause: error.to_string() }
                })
            })
            .collect()
    }

    /// Creates or replaces the lock at `scope`; answers with the lock as the service holds it.
    pub async fn put_lock(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        scope: &ResourceId,
        lock: &Lock,
    ) -> Result<Lock, ArmError> {
        let (arm, body) = (self.arm().await?, lock.body()?);
        let reply = arm
            .generated(wait, Some(permit), |to| {
                client(to).create_or_update_by_scope(bare(scope), &lock.name, body).send()
            })
            .await?;
        Ok(Lock::from_body(reply.read()?))
    }

    /// Deletes the lock at `scope`; a lock that is already gone is deleted.
    pub async fn delete_lock(
        &self,
        wait: &mut Wait<'_>,
        permit: &EffectPermit,
        scope: &ResourceId,
        name: &str,
    ) -> Result<(), ArmError> {
        let arm = self.arm().await?;
        let reply = arm
            .generated(wait, Some(permit), |to| {
                client(to).delete_by_scope(bare(scope), name).send()
            })
            .await;
        found(reply).map(drop)
    }
}
