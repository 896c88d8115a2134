//! A lock that was taken away goes on refusing for a while: ARM learns of it late.
//!
//! A change that was refused as `ScopeLocked` was not carried out, so it may be sent again. That is done only when a read
//! shows that none of the scopes the refusal names has a lock any more; a lock that stands is reported at once.

use std::time::Duration;

use azure_core::http::Method;
use serde_json::Value;

use super::throttle::Failure;
use super::{Arm, ArmError, Wait};
use crate::azure::ResourceId;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(5);
/// Attempts after the first; a minute in all.
const ATTEMPTS: u32 = 12;

/// Counts the attempts of one request.
#[derive(Debug, Default)]
pub(super) struct Unlocking(u32);

impl Arm {
    /// Waits and says true when the change was refused for a lock that is gone.
    pub(super) async fn outlasts_lock(
        &self,
        wait: &mut Wait<'_>,
        tried: &mut Unlocking,
        method: &Method,
        failure: &Failure,
    ) -> Result<bool, ArmError> {
        let Failure::Service { service, .. } = failure else { return Ok(false) };
        if service.code != "ScopeLocked" || tried.0 == ATTEMPTS {
            return Ok(false);
        }
        let scopes = locked_scopes(&service.message);
        if scopes.is_empty() {
            return Ok(false);
        }
        for scope in &scopes {
            // A scope that can not be asked is as good as locked.
            if self.is_locked(wait, scope, method).await.unwrap_or(true) {
                return Ok(false);
            }
        }
        tried.0 += 1;
        let why =
            format!("waits for Azure to forget the lock that was taken away at {}", scopes[0]);
        wait.sleep(&self.clock, PAUSE, &why).await?;
        Ok(true)
    }

    /// Whether a lock at the scope forbids this method: only a read-only one forbids more than deletion.
    async fn is_locked(
        &self,
        wait: &mut Wait<'_>,
        scope: &ResourceId,
        method: &Method,
    ) -> Result<bool, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/locks");
        let list = self.list(wait, self.url(&path, "2020-05-01"));
        // The list has those of inner scopes, too.
        let own = format!("{path}/").to_ascii_lowercase();
        let locks = Box::pin(list).await?;
        let forbids = |lock: &Value| {
            *method == Method::Delete || lock["properties"]["level"] != "CanNotDelete"
        };
        Ok(locks.iter().filter(|lock| forbids(lock)).any(|lock| {
            let id = lock["id"].as_str().unwrap_or_default().to_ascii_lowercase();
            id.strip_prefix(&own).is_some_and(|name| !name.contains('/'))
        }))
    }
}

/// The scopes in "…because following scope(s) are locked: 'A','B'. Please remove the lock and try again."
fn locked_scopes(message: &str) -> Vec<ResourceId> {
    let Some((_, named)) = message.split_once("are locked:") else { return Vec::new() };
    let quoted = named.split('\'').skip(1).step_by(2);
    quoted.filter_map(|scope| ResourceId::parse(scope).ok()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::azure::testing::{Answer, world};
    use crate::azure::{RecordSet, RecordType};
    use crate::clock::since;
    use crate::journal::EffectPermit;

    const GROUP: &str = "/subscriptions/s/resourceGroups/rg-dns";

    fn refused() -> Answer {
        let message = format!(
            "The scope '{GROUP}/x' cannot perform write operation because following scope(s) are locked: '{GROUP}'. Please remove the lock and try again."
        );
        Answer::json(409, &json!({ "error": { "code": "ScopeLocked", "message": message } }))
    }

    fn locks(ids: &[&str]) -> Answer {
        let locks: Vec<_> = ids.iter().map(|id| json!({ "id": id })).collect();
        Answer::json(200, &json!({ "value": locks }))
    }

    fn written() -> Answer {
        let properties = json!({ "TTL": 60, "CNAMERecord": { "cname": "b" } });
        Answer::json(
            201,
            &json!({ "name": "crm", "type": "x/CNAME", "etag": "e", "properties": properties }),
        )
    }

    async fn put(answers: Vec<Answer>) -> (Result<RecordSet, ArmError>, Vec<String>, u64) {
        let (azure, script, mut wait, clock) = world(answers);
        let zone = format!("{GROUP}/providers/Microsoft.Network/dnsZones/contoso.example");
        let zone = ResourceId::parse(&zone).expect("an id");
        let set = RecordSet::new("crm", RecordType::Cname, 60, &["b".to_owned()]).expect("a set");
        let permit = EffectPermit::for_test("record");
        let put = azure.put_record_set(&mut wait, &permit, &zone, None, &set).await;
        (put, script.lines(), since(Timestamp::UNIX_EPOCH, clock.now()).as_secs())
    }

    #[tokio::test]
    async fn a_lock_that_is_gone_is_waited_out() {
        let inner =
            format!("{GROUP}/providers/a/b/c/providers/Microsoft.Authorization/locks/inner");
        let answers = vec![refused(), locks(&[&inner]), refused(), locks(&[]), written()];
        let (put, lines, waited) = put(answers).await;
        assert_eq!(put.expect("written in the end").values(), ["b"]);
        assert_eq!((lines.len(), waited), (5, 10));
        let asked =
            format!("GET {GROUP}/providers/Microsoft.Authorization/locks?api-version=2020-05-01");
        assert_eq!(lines[1], asked);
    }

    #[tokio::test]
    async fn a_lock_against_deletion_does_not_stand_in_the_way_of_a_write() {
        let id = format!("{GROUP}/providers/Microsoft.Authorization/locks/keep");
        let lock = json!({ "value": [{ "id": id, "properties": { "level": "CanNotDelete" } }] });
        let (put, ..) = put(vec![refused(), Answer::json(200, &lock), written()]).await;
        assert_eq!(put.expect("written").values(), ["b"]);
    }

    #[tokio::test]
    async fn a_lock_that_stands_or_can_not_be_asked_for_is_reported_at_once() {
        let stands =
            format!("{}/providers/microsoft.authorization/locks/freeze", GROUP.to_uppercase());
        let forbidden = Answer::json(403, &json!({ "error": { "code": "AuthorizationFailed" } }));
        let unnamed =
            Answer::json(409, &json!({ "error": { "code": "ScopeLocked", "message": "no" } }));
        let cases = [
            (vec![refused(), locks(&[&stands])], 2),
            (vec![refused(), forbidden], 2),
            (vec![unnamed], 1),
        ];
        for (answers, requests) in cases {
            let (put, lines, waited) = put(answers).await;
            assert_eq!(put.expect_err("locked").code(), "MIG0108");
            assert_eq!((lines.len(), waited), (requests, 0));
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_never_forgotten_is_reported_in_the_end() {
        let answers = (0..=ATTEMPTS).flat_map(|_| [refused(), locks(&[])]);
        let (put, lines, _) = put(answers.collect()).await;
        assert_eq!(put.expect_err("locked").service().map(|it| it.status), Some(409));
        assert_eq!(lines.len(), 2 * ATTEMPTS as usize + 1);
    }
}
