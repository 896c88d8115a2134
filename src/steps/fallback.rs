//! Whether the way back is open: the source must still answer at the moment traffic leaves it.
//!
//! Not a kind. Without a `fallback` nothing was compared, and that is what it says.

use super::{Evidence, StepCx};
use crate::dns::{Endpoint, Health, HostPort};

/// Says what is wrong with it, if something is: an address that is none would be found out at the switch.
pub(super) fn check(fallback: Option<&str>) -> Result<(), String> {
    let Some(written) = fallback else { return Ok(()) };
    if written.parse::<url::Url>().is_ok_and(|url| url.has_host()) {
        return Ok(());
    }
    HostPort::try_from(written.to_owned()).map(drop).map_err(|why| format!("`fallback`: {why}"))
}

/// Asks the source by URL or `host:port`.
pub(super) async fn read(cx: &StepCx, fallback: Option<&str>) -> Evidence {
    let evidence = |check: String, verdict: &str, detail: String, holds: bool| Evidence {
        check: format!("way back: {check}"),
        verdict: verdict.to_owned(),
        detail,
        holds,
    };
    let Some(fallback) = fallback else {
        let detail = "no `fallback` is given".to_owned();
        return evidence("source".to_owned(), "not compared", detail, false);
    };
    if let Ok(url) = fallback.parse::<url::Url>()
        && url.has_host()
    {
        let endpoint = Endpoint::answering(url);
        let reading = endpoint.read(&cx.world.network).await;
        let good = reading.health == Health::Good;
        return evidence(endpoint.shown(), &reading.health.to_string(), reading.detail, good);
    }
    match HostPort::try_from(fallback.to_owned()) {
        Ok(HostPort { host, port }) => {
            let check = fallback.to_owned();
            match cx.world.network.tcp_connect(&host, port).await {
                Ok(_) => evidence(check, "healthy", "accepts connections".to_owned(), true),
                Err(error) => evidence(check, "failing", error.to_string(), false),
            }
        }
        Err(why) => evidence(fallback.to_owned(), "not compared", why, false),
    }
}
