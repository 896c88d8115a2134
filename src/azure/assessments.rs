//! Machines of an Azure Migrate assessment (Microsoft.Migrate, 2019-10-01): may they move, and what would they cost.

use serde_json::Value;

use super::{ArmError, Azure, ResourceId, Wait};

const API: &str = "2019-10-01";

/// Whether a machine may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suitability {
    /// As it is.
    Suitable,
    /// After something is done.
    Conditionally,
    /// Not.
    NotSuitable,
    /// Not said, or a word this program does not know.
    Unknown,
}

/// A machine as it was assessed.
#[derive(Debug, Clone, PartialEq)]
pub struct AssessedMachine {
    /// Its name.
    pub name: String,
    /// Its operating system, in the service's words.
    pub operating_system: String,
    /// `BIOS`, `EFI`, or nothing.
    pub boot: String,
    /// See [`Suitability`].
    pub suitability: Suitability,
    /// Why it is not suitable.
    pub explanation: String,
    /// Compute, storage and network together; none where one of the first two is missing.
    pub monthly_cost: Option<f64>,
}

impl AssessedMachine {
    fn from_body(body: &Value) -> Self {
        let properties = &body["properties"];
        let text = |key: &str| properties[key].as_str().unwrap_or_default().to_owned();
        let cost = |key: &str| properties[key].as_f64();
        let explanation = [text("suitabilityExplanation"), text("suitabilityDetail")];
        let explanation =
            explanation.into_iter().find(|it| !it.is_empty() && it != "NotApplicable");
        Self {
            name: text("displayName"),
            operating_system: text("operatingSystemName"),
            boot: text("bootType"),
            suitability: match text("suitability").to_ascii_lowercase().as_str() {
                "suitable" => Suitability::Suitable,
                "conditionallysuitable" => Suitability::Conditionally,
                "notsuitable" => Suitability::NotSuitable,
                _ => Suitability::Unknown,
            },
            explanation: explanation.unwrap_or_default(),
            monthly_cost: cost("monthlyComputeCostForRecommendedSize")
                .zip(cost("monthlyStorageCost"))
                .map(|(compute, disk)| {
                    compute + disk + cost("monthlyBandwidthCost").unwrap_or(0.0)
                }),
        }
    }
}

impl Azure {
    /// Every machine of an assessment.
    pub async fn assessed_machines(
        &self,
        wait: &mut Wait<'_>,
        assessment: &ResourceId,
    ) -> Result<Vec<AssessedMachine>, ArmError> {
        let arm = self.arm().await?;
        let path = assessment.join("assessedMachines")?;
        let machines = arm.list(wait, arm.url(path.as_str(), API)).await?;
        Ok(machines.iter().map(AssessedMachine::from_body).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Answer, world};
    use super::*;

    #[tokio::test]
    async fn what_a_machine_does_not_say_is_unknown_and_costs_nothing_by_guess() {
        let machine = |properties: Value| json!({ "properties": properties });
        let all = json!({ "value": [
            machine(json!({ "displayName": "web", "suitability": "Suitable", "bootType": "EFI", "monthlyStorageCost": 5.5,
                "monthlyComputeCostForRecommendedSize": 70.0 })),
            machine(json!({ "displayName": "old", "suitability": "NotSuitable", "suitabilityExplanation": "GuestOperatingSystemNotSupported" })),
            machine(json!({ "displayName": "odd" })),
        ] });
        let (azure, script, mut wait, _) = world([Answer::json(200, &all)]);
        let id = ResourceId::parse("/subscriptions/s/assessments/a").expect("an id");
        let read = azure.assessed_machines(&mut wait, &id).await.expect("read");
        assert_eq!(
            (read[0].suitability, read[0].monthly_cost),
            (Suitability::Suitable, Some(75.5))
        );
        assert_eq!(read[1].explanation, "GuestOperatingSystemNotSupported");
        assert_eq!((read[2].suitability, read[2].monthly_cost), (Suitability::Unknown, None));
        assert!(
            script.lines()[0].contains("/assessments/a/assessedMachines?api-version=2019-10-01")
        );
    }
}
