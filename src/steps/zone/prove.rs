//! Proving that record sets are served as wanted: by every authoritative server, and by the resolvers an author names. A
//! private zone has no server that could be asked from outside its networks: there the service is asked what it holds.

use std::time::Duration;

use jiff::Timestamp;

use super::{Zone, hands};
use crate::dns::update::{Slot, UpdateError};
use crate::dns::{
    AzureZone, Keeper, LookupError, Panel, Patience, Server, ServerAnswer, Set, Settled, Truth,
    Turn,
};
use crate::plan::Span;
use crate::run::{Evidence, FailureClass, StepError};
use crate::steps::{PerformCx, StepCx};

/// Who has to serve what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::steps) enum Who {
    /// The authoritative servers.
    Authorities,
    /// The resolvers that the author names, too.
    Everybody,
}

/// One record set that is served as wanted.
#[derive(Debug)]
pub(in crate::steps) struct Proved {
    /// When it was: from then on nobody who was asked hands out anything else.
    pub(in crate::steps) at: Timestamp,
    /// The longest TTL with which anything else was seen meanwhile.
    pub(in crate::steps) worst: Duration,
    /// Line by line.
    pub(in crate::steps) evidence: Vec<Evidence>,
}

/// Why the servers of a zone are not known.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Names(#[from] LookupError),
    #[error(transparent)]
    Primary(#[from] UpdateError),
}

impl Zone {
    /// Who is asked about the zone; nobody, for a private zone without resolvers.
    async fn panel(&self, cx: &StepCx, who: Who, attempted: &str) -> Result<Panel, StepError> {
        let found = self.find(cx, who).await;
        found.map_err(|error| {
            let known = format!("the authoritative servers of {} could not be found", self.name);
            StepError::new(FailureClass::Failed, "MIG0201", attempted, known)
                .because(&error)
                .hint("check the zone's delegation and this machine's resolver, then `migrate resume`")
                .retryable()
        })
    }

    async fn find(&self, cx: &StepCx, who: Who) -> Result<Panel, Lost> {
        let network = &cx.world.network;
        let mut panel = match &self.keeper {
            _ if !self.servers.is_empty() => Panel::named(network, &self.servers).await?,
            Keeper::Azure(AzureZone { private: true, .. }) => Panel::default(),
            Keeper::Azure(_) => Panel::of_zone(network, &self.name).await?,
            Keeper::Primary(primary) => Panel::of_primary(network, cx.clock(), primary).await?,
        };
        if let Keeper::Primary(primary) = &self.keeper {
            panel = panel.as_new_as(cx.clock(), primary).await?;
        }
        if who == Who::Everybody {
            panel = panel.with_resolvers(network, &self.resolvers).await?;
        }
        Ok(panel)
    }

    fn is_private(&self) -> bool {
        matches!(self.keeper, Keeper::Azure(AzureZone { private: true, .. }))
    }

    /// What the servers say now, one line each, for dry runs.
    pub(in crate::steps) async fn readings(
        &self,
        cx: &StepCx,
        slots: impl Iterator<Item = &Slot>,
        attempted: &str,
    ) -> Result<Vec<Evidence>, StepError> {
        let panel = self.panel(cx, Who::Everybody, attempted).await?;
        let mut readings = Vec::new();
        for slot in slots {
            readings.extend(Self::told(slot, &panel.ask(&slot.name, slot.kind).await, "read"));
        }
        Ok(readings)
    }

    /// Every server serves what is wanted, or an error that names who does not. One answer for each turn.
    pub(in crate::steps) async fn prove(
        &self,
        cx: &mut PerformCx<'_>,
        (batch, who): (&[Turn], Who),
        within: Span,
        attempted: &str,
    ) -> Result<Vec<Proved>, StepError> {
        let read = cx.read;
        let panel = self.panel(read, who, attempted).await?;
        let mut proved = Vec::new();
        for turn in batch {
            let mut evidence = Vec::new();
            if self.is_private() {
                evidence.push(self.held(cx, turn, attempted).await?);
            }
            if self.is_private() && panel.servers.is_empty() {
                evidence.extend(Self::told(&turn.slot, &Truth(Vec::new()), "not compared"));
                let at = read.clock().now();
                proved.push(Proved { at, worst: Duration::ZERO, evidence });
                continue;
            }
            let patience = Patience {
                clock: read.clock(),
                busy: cx.busy,
                cancel: &read.cancel,
                within: within.duration(),
                say: &|text| read.progress.say(text),
            };
            let served = |server: &Server, set: &_| serves(turn, server, set);
            let Turn { slot, .. } = turn;
            let settled = panel.settle(patience, &slot.name, slot.kind, served).await;
            if !settled.missing.is_empty() {
                return Err(self.not_served(turn, settled, attempted));
            }
            evidence.extend(Self::told(slot, &settled.truth, "equal"));
            proved.push(Proved { at: settled.at, worst: settled.worst, evidence });
        }
        Ok(proved)
    }

    /// The service holds what is wanted: all there is to read of a private zone from outside.
    async fn held(
        &self,
        cx: &mut PerformCx<'_>,
        turn: &Turn,
        attempted: &str,
    ) -> Result<Evidence, StepError> {
        let read = cx.read;
        let slots = [turn.slot.clone()];
        let now = self.keeper.read(&mut hands(read, cx.wait()), &slots).await;
        let now =
            now.map_err(|error| error.into_step_error(attempted, "it could not be read back"))?;
        let now = now.into_iter().next().flatten();
        if !Set::same(now.as_ref(), turn.wanted.as_ref()) {
            return Err(super::foreign(attempted, turn.wanted.as_ref(), now.as_ref()));
        }
        Ok(Evidence {
            check: format!("{} at {}", turn.slot, self.keeper.shown()),
            verdict: "equal".to_owned(),
            detail: Set::shown(now.as_ref()),
            holds: true,
        })
    }

    fn not_served(&self, turn: &Turn, settled: Settled, attempted: &str) -> StepError {
        let known = format!(
            "{} holds {}, but not every server serves it",
            self.keeper.shown(),
            Set::shown(turn.wanted.as_ref())
        );
        let truth = &settled.truth;
        let worst = truth.worst(|server, set| serves(turn, server, set));
        let lives = worst.map_or_else(String::new, |worst| {
            format!("; an old answer lives for {} s at most", worst.as_secs())
        });
        let spread = format!("{}{lives}", truth.shares());
        let mut error = StepError::new(FailureClass::Failed, "MIG0202", attempted, known)
            .hint("`migrate resume` asks the servers again and writes nothing twice")
            .retryable();
        error.causes = settled.missing;
        error.cause(spread)
    }

    /// One line a server, and how the answers are spread.
    fn told(slot: &Slot, truth: &Truth, verdict: &str) -> Vec<Evidence> {
        if truth.0.is_empty() {
            return vec![Evidence {
                check: format!("{slot} as it is answered"),
                verdict: "not compared".to_owned(),
                detail:
                    "a private zone is answered for inside its networks; name `resolvers` there"
                        .to_owned(),
                holds: false,
            }];
        }
        let line = |check: String, detail: String| Evidence {
            check,
            verdict: verdict.to_owned(),
            detail,
            holds: true,
        };
        let server = |answer: &ServerAnswer| {
            line(format!("{slot} at {}", answer.server), answer.said.to_string())
        };
        let closed = truth.closed().map_or_else(String::new, |transport| {
            format!(
                "; nobody answers over {transport} from here, which is taken for the path's doing"
            )
        });
        let share = format!("{}{closed}", truth.shares());
        truth.0.iter().map(server).chain([line(format!("{slot} altogether"), share)]).collect()
    }
}

/// Whether an answer is what is wanted of that server.
fn serves(turn: &Turn, server: &Server, answer: &crate::dns::RrSet) -> bool {
    let judge = if server.recursive { Set::cached } else { Set::served };
    judge(answer, turn.wanted.as_ref(), turn.slot.kind)
}
