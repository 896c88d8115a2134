//! Five servers, one of which is stale, lame, drops packets or lies: never is a change called propagated, and it is that
//! server which is named. The short form runs with the other tests, `tests/soak dns-truth` many more.
#![expect(clippy::print_stdout, reason = "counts")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::base::Rtype;
use domain::base::iana::Rcode;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::dns::record::{Rdata, name};
use crate::dns::testing::{Asked, Canned, TestServer};
use crate::dns::{Patience, Settled};

const SEED: u64 = 0x6d69_6772_6174_6521;
/// Checks side by side.
const LANES: usize = 8;
const SERVERS: usize = 5;
/// The version of the zone with the change in it.
const SERIAL: u32 = 42;
const TTL: u32 = 60;

/// What the one server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Healthy,
    OldValue,
    OldTtl,
    OldVersion,
    NoVersion,
    OneValueMore,
    OneValueLess,
    Nothing,
    NoSuchName,
    AnotherType,
    AnotherName,
    Lame,
    LameAndEmpty,
    Refuses,
    Fails,
    OldOverUdp,
    OldOverTcp,
    EverySecondTime,
    EverySecondRound,
    CutOffForEver,
    Drops,
    DropsUdp,
    DropsTcp,
}

impl Fault {
    const ALL: [Self; 22] = [
        Self::OldValue,
        Self::OldTtl,
        Self::OldVersion,
        Self::NoVersion,
        Self::OneValueMore,
        Self::OneValueLess,
        Self::Nothing,
        Self::NoSuchName,
        Self::AnotherType,
        Self::AnotherName,
        Self::Lame,
        Self::LameAndEmpty,
        Self::Refuses,
        Self::Fails,
        Self::OldOverUdp,
        Self::OldOverTcp,
        Self::EverySecondTime,
        Self::EverySecondRound,
        Self::CutOffForEver,
        Self::Drops,
        Self::DropsUdp,
        Self::DropsTcp,
    ];

    /// Found only by waiting.
    fn is_silent(self) -> bool {
        matches!(self, Self::Drops | Self::DropsUdp | Self::DropsTcp | Self::CutOffForEver)
    }

    /// The answer of a server with this fault to its question number `asked` about the record.
    fn answer(self, question: &Asked, asked: usize) -> Option<Canned> {
        if question.rtype == Rtype::SOA {
            let serial = match self {
                Self::OldVersion => Some(SERIAL - 1),
                Self::NoVersion => None,
                _ => Some(SERIAL),
            };
            return Some(Canned { soa: serial, ..Canned::authoritative() });
        }
        let a = |last| Rdata::A([192, 0, 2, last].into());
        let holding = |ttl, values: &[u8]| Canned {
            answer: values.iter().map(|last| (ttl, a(*last))).collect(),
            ..Canned::authoritative()
        };
        let (new, old) = (|| holding(TTL, &[10, 11]), || holding(TTL, &[1, 2]));
        let canned = match self {
            Self::OldTtl => holding(3600, &[10, 11]),
            Self::OneValueMore => holding(TTL, &[10, 11, 1]),
            Self::OneValueLess => holding(TTL, &[10]),
            Self::Nothing => holding(TTL, &[]),
            Self::NoSuchName => Canned { rcode: Rcode::NXDOMAIN, ..holding(TTL, &[]) },
            Self::AnotherType => {
                let target = name("target.contoso.example").expect("a name");
                Canned { answer: vec![(TTL, Rdata::Cname(target))], ..Canned::authoritative() }
            }
            Self::AnotherName => {
                let other = name("other.contoso.example").expect("a name");
                Canned { owner: Some(other), ..new() }
            }
            Self::Lame => Canned { aa: false, ..new() },
            Self::LameAndEmpty => Canned { aa: false, ..holding(TTL, &[]) },
            Self::Refuses => Canned { rcode: Rcode::REFUSED, ..holding(TTL, &[]) },
            Self::Fails => Canned { rcode: Rcode::SERVFAIL, ..holding(TTL, &[]) },
            Self::CutOffForEver if !question.tcp => Canned { truncated: true, ..holding(TTL, &[]) },
            Self::OldValue
            | Self::OldOverUdp
            | Self::OldOverTcp
            | Self::EverySecondTime
            | Self::EverySecondRound => {
                let old_now = match self {
                    Self::OldOverUdp => !question.tcp,
                    Self::OldOverTcp => question.tcp,
                    Self::EverySecondTime => asked % 2 == 1,
                    Self::EverySecondRound => asked / 2 % 2 == 1,
                    _ => true,
                };
                if old_now { old() } else { new() }
            }
            Self::Drops | Self::CutOffForEver => return None,
            Self::DropsUdp | Self::DropsTcp if question.tcp == (self == Self::DropsTcp) => {
                return None;
            }
            Self::DropsUdp
            | Self::DropsTcp
            | Self::Healthy
            | Self::OldVersion
            | Self::NoVersion => new(),
        };
        Some(canned)
    }
}

/// Five servers whose faults are set for each check.
struct Lane {
    servers: Vec<TestServer>,
    faults: Vec<Arc<Mutex<Fault>>>,
    asked: Vec<Arc<AtomicUsize>>,
}

impl Lane {
    async fn start() -> Self {
        let mut lane = Self { servers: Vec::new(), faults: Vec::new(), asked: Vec::new() };
        for _ in 0..SERVERS {
            let fault = Arc::new(Mutex::new(Fault::Healthy));
            let asked = Arc::new(AtomicUsize::new(0));
            let (own, count) = (Arc::clone(&fault), Arc::clone(&asked));
            let server = TestServer::start("127.0.0.1", move |question: &Asked| {
                let fault = *own.lock().expect("no panic");
                let number = match question.rtype {
                    Rtype::SOA => 0,
                    _ => count.fetch_add(1, Ordering::SeqCst),
                };
                fault.answer(question, number)
            });
            lane.servers.push(server.await);
            lane.faults.push(fault);
            lane.asked.push(asked);
        }
        lane
    }

    /// One check, with that fault at that server.
    async fn check(&self, fault: Fault, at: usize) -> Settled {
        for (index, own) in self.faults.iter().enumerate() {
            *own.lock().expect("no panic") = if index == at { fault } else { Fault::Healthy };
            self.asked[index].store(0, Ordering::SeqCst);
        }
        // Healthy servers get all the time they need on a busy machine; silence is waited for no longer than it must.
        let waits = if fault.is_silent() {
            Waits { udp: Duration::from_millis(250), tcp: Duration::from_millis(500) }
        } else {
            Waits { udp: Duration::from_secs(10), tcp: Duration::from_secs(20) }
        };
        let server = |(index, server): (usize, &TestServer)| Server {
            name: format!("ns{index}"),
            address: Some(server.address),
            recursive: false,
        };
        let zone = name("contoso.example").expect("a name");
        let panel = Panel {
            servers: self.servers.iter().enumerate().map(server).collect(),
            serial: Some(Serial { zone, least: SERIAL }),
            waits,
        };
        let clock = Clock::skipping_from(Timestamp::UNIX_EPOCH);
        let patience = Patience {
            clock: &clock,
            busy: &mut clock.busy(),
            cancel: &CancellationToken::new(),
            within: Duration::ZERO,
            say: &|_| {},
        };
        let crm = name("crm.contoso.example").expect("a name");
        let wanted = |_: &Server, set: &RrSet| {
            set.ttl == TTL
                && set.values == [10, 11].map(|it| Rdata::A([192, 0, 2, it].into())).into()
        };
        panel.settle(patience, &crm, RecordType::A, wanted).await
    }
}

/// A seeded generator (`SplitMix64`).
fn mixed(number: usize) -> u64 {
    let mut z = SEED.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many checks with a fault.
fn cases() -> usize {
    match std::env::var("MIGRATE_SOAK") {
        Err(_) => 110,
        Ok(text) => text.parse().unwrap_or(2000),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_five_servers_is_never_outvoted() {
    let next = AtomicUsize::new(0);
    let (seen, wrong) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    let cases = cases() + cases() / Fault::ALL.len();
    let lane = || async {
        let lane = Lane::start().await;
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= cases {
                return;
            }
            let dice = mixed(number);
            let at = usize::try_from(dice % SERVERS as u64).expect("small");
            // Each fault in turn, and now and then none: a check that always says no would prove nothing.
            let fault = Fault::ALL.get(number % 23).copied().unwrap_or(Fault::Healthy);
            let settled = lane.check(fault, at).await;
            *seen.lock().expect("no panic").entry(fault).or_insert(0) += 1;
            let named = format!("ns{at} ");
            let right = match (fault, settled.missing.as_slice()) {
                (Fault::Healthy, missing) => missing.is_empty(),
                // Where silence counts, a busy machine may make others look silent, too.
                (fault, missing) if fault.is_silent() => {
                    missing.iter().any(|it| it.starts_with(&named))
                }
                (_, [only]) => only.starts_with(&named),
                _ => false,
            };
            if !right {
                wrong.lock().expect("no panic").push((number, fault, at, settled.missing));
            }
        }
    };
    futures::future::join_all((0..LANES.min(cases)).map(|_| lane())).await;
    let (seen, wrong) =
        (seen.into_inner().expect("no panic"), wrong.into_inner().expect("no panic"));
    let healthy = seen.get(&Fault::Healthy).copied().unwrap_or(0);
    println!(
        "{} checks with one of {SERVERS} servers at fault in {} ways, {healthy} with none: {} judged wrong",
        cases - healthy,
        seen.len().saturating_sub(1),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
