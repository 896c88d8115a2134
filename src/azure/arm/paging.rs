//! Lists that come in pages, followed by `nextLink` to their end.

use azure_core::http::{Method, Url};
use serde_json::Value;

use super::{Arm, ArmError, Call, Wait};

/// Pages followed at most; a service that links in a circle can not hold us.
const PAGES: usize = 10_000;

impl Arm {
    /// Every item of `value`, over all pages. Links are used as they came, and only on the ARM endpoint's host.
    pub(in crate::azure) async fn list(
        &self,
        wait: &mut Wait<'_>,
        first: Url,
    ) -> Result<Vec<Value>, ArmError> {
        let what = first.path().to_owned();
        let mut items = Vec::new();
        let mut next = Some(first);
        for _ in 0..PAGES {
            let Some(url) = next else { return Ok(items) };
            let mut page = self.send(wait, &Call::read(Method::Get, url)).await?.value()?;
            // Nothing where a list should be is not an empty list: an empty list opens gates.
            let Some(Value::Array(values)) = page.get_mut("value").map(Value::take) else {
                let cause = "the answer has no list in `value`".to_owned();
                return Err(ArmError::Unreadable { what, cause });
            };
            items.extend(values);
            next = match page.get("nextLink").and_then(Value::as_str) {
                Some(link) if !link.is_empty() => Some(self.followed(link)?),
                _ => None,
            };
        }
        Err(ArmError::Unreadable { what, cause: format!("more than {PAGES} pages") })
    }
}
