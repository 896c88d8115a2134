//! Changes of a zone at its primary name server: signed dynamic updates (RFC 2136, RFC 8945) over TCP.
//!
//! Promises: a change names what must be there as a prerequisite, so that it is made exactly once and never over another
//! hand's; several record sets change in one message, all or none; a reply counts only with its signature. Nothing is
//! sent twice here: whether a lost reply was a success, the primary is asked.

mod error;
mod key;
mod message;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::message_builder::{AdditionalBuilder, PushError};
use domain::base::{Message, Rtype};
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientTransaction, ValidationError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use error::UpdateError;
pub use key::TsigKey;
pub use state::{Held, Slot, State};

use super::query::{self, QueryError};
use super::record::Name;
use crate::clock::Clock;
use crate::journal::EffectPermit;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For a reply: a primary writes to its disk first.
const REPLY: Duration = Duration::from_secs(20);

/// What people put into zones.
const TYPES: [Rtype; 22] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::CNAME,
    Rtype::TXT,
    Rtype::MX,
    Rtype::SRV,
    Rtype::NS,
    Rtype::PTR,
    Rtype::CAA,
    Rtype::HTTPS,
    Rtype::SVCB,
    Rtype::NAPTR,
    Rtype::TLSA,
    Rtype::SSHFP,
    Rtype::DNAME,
    Rtype::DS,
    Rtype::URI,
    Rtype::LOC,
    Rtype::HINFO,
    Rtype::SPF,
    Rtype::CERT,
    Rtype::OPENPGPKEY,
];

/// A zone's primary name server, and the key it knows us by.
#[derive(Debug, Clone)]
pub struct Primary {
    /// Where it listens.
    pub address: SocketAddr,
    /// The zone.
    pub zone: Name,
    /// Signs every message to it.
    pub key: TsigKey,
}

impl Primary {
    /// What it holds in these slots now.
    pub async fn read(
        &self,
        clock: &Clock,
        slots: impl IntoIterator<Item = Slot>,
    ) -> Result<State, UpdateError> {
        let mut state = State::default();
        for slot in slots {
            let reply = self.ask(clock, &slot.name, slot.kind.rtype()).await?;
            let own = reply.answer.into_iter().filter(|record| {
                record.owner == slot.name && record.rdata.rtype() == slot.kind.rtype()
            });
            let own: Vec<_> = own.collect();
            let ttl = own.iter().map(|record| record.ttl).min().unwrap_or_default();
            let held = Held::of(ttl, own.into_iter().map(|record| (record.rdata, record.wire)));
            state.0.insert(slot, held);
        }
        Ok(state)
    }

    /// Types of all records at a name, those that come with signing left out. Asked one by one, too: some servers answer
    /// a question for any type with one of them.
    pub async fn types_at(
        &self,
        clock: &Clock,
        name: &Name,
    ) -> Result<BTreeSet<Rtype>, UpdateError> {
        let mut found = BTreeSet::new();
        for rtype in std::iter::once(Rtype::ANY).chain(TYPES) {
            let reply = self.ask(clock, name, rtype).await?;
            let own = reply.answer.iter().filter(|record| record.owner == *name);
            found.extend(own.map(|record| record.rdata.rtype()).chain(reply.others));
        }
        let signing = [Rtype::RRSIG, Rtype::NSEC, Rtype::NSEC3, Rtype::DNSKEY];
        found.retain(|rtype| !signing.contains(rtype));
        Ok(found)
    }

    /// Serial of the zone.
    pub async fn serial(&self, clock: &Clock) -> Result<Option<u32>, UpdateError> {
        Ok(self.ask(clock, &self.zone, Rtype::SOA).await?.serial)
    }

    /// Asks it a question under its own key: a server may show each key another view of the zone.
    pub async fn ask(
        &self,
        clock: &Clock,
        name: &Name,
        rtype: Rtype,
    ) -> Result<query::Reply, UpdateError> {
        let question = query::question(name, rtype, false);
        let reply = match self.exchange(clock, question).await {
            // Nothing was asked to change: it is a question without an answer, and no more.
            Err(UpdateError::ReplyLost(address, _)) => {
                return Err(QueryError::Silent(address).into());
            }
            reply => reply?.message,
        };
        let reply = query::read(self.address, &reply)?;
        match reply.rcode {
            Rcode::NOERROR | Rcode::NXDOMAIN if reply.authoritative => Ok(reply),
            Rcode::NOERROR | Rcode::NXDOMAIN => {
                Err(UpdateError::NotAuthoritative(self.address, self.zone.to_string()))
            }
            rcode => Err(UpdateError::Refused(self.address, format!("it said {rcode}"))),
        }
    }

    /// Changes exactly `before` into exactly `after`, or nothing. TTLs of `before` are not compared: the protocol can
    /// not.
    pub async fn change(
        &self,
        clock: &Clock,
        _permit: &EffectPermit,
        before: &State,
        after: &State,
    ) -> Result<(), UpdateError> {
        self.update(clock, message::change(&self.zone, before, after)).await
    }

    /// Whether the key may change these slots, forward and back: an update that the primary has to grant and that, by its
    /// prerequisites, changes nothing.
    pub async fn prove_rights(&self, clock: &Clock, before: &State) -> Result<(), UpdateError> {
        self.update(clock, message::no_change(&self.zone, before)).await
    }

    async fn update(
        &self,
        clock: &Clock,
        message: Result<AdditionalBuilder<Vec<u8>>, PushError>,
    ) -> Result<(), UpdateError> {
        let message = message.map_err(|_| UpdateError::TooLong)?;
        let Reply { message, signed } = self.exchange(clock, message).await?;
        let lost = |why: String| Err(UpdateError::ReplyLost(self.address, why));
        match message.header().rcode() {
            Rcode::NOERROR if signed => Ok(()),
            Rcode::NOERROR => lost("its reply is not signed".to_owned()),
            rcode @ (Rcode::YXDOMAIN | Rcode::YXRRSET | Rcode::NXDOMAIN | Rcode::NXRRSET) => {
                Err(UpdateError::Changed(self.address, rcode))
            }
            rcode @ (Rcode::REFUSED
            | Rcode::NOTAUTH
            | Rcode::NOTZONE
            | Rcode::NOTIMP
            | Rcode::FORMERR) => {
                let why = format!("it said {rcode} to this update by the key {}", self.key.name());
                Err(UpdateError::Refused(self.address, why))
            }
            rcode => lost(format!("it said {rcode}")),
        }
    }

    /// Sends a message, signed, and takes its reply.
    async fn exchange(
        &self,
        clock: &Clock,
        mut message: AdditionalBuilder<Vec<u8>>,
    ) -> Result<Reply, UpdateError> {
        let address = self.address;
        let lost = |why: &dyn std::fmt::Display| UpdateError::ReplyLost(address, why.to_string());
        let key = Arc::clone(&self.key.0);
        let transaction = ClientTransaction::request(key, &mut message, time(clock))
            .map_err(|_| UpdateError::TooLong)?;
        let asked = message.into_message();
        let length = u16::try_from(asked.as_slice().len()).map_err(|_| UpdateError::TooLong)?;
        let framed = [&length.to_be_bytes(), asked.as_slice()].concat();
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = connected
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| UpdateError::Unreachable(address, error))?;
        let octets = timeout(REPLY, converse(stream, &framed))
            .await
            .map_err(|_elapsed| lost(&"it did not answer in time"))?
            .map_err(|error| lost(&error))?;
        let mut message = Message::from_octets(octets).map_err(|error| lost(&error))?;
        let (header, own) = (message.header(), asked.header());
        if !header.qr() || header.id() != own.id() || header.opcode() != own.opcode() {
            return Err(lost(&"it answered something else"));
        }
        match transaction.answer(&mut message, time(clock)) {
            Ok(()) => Ok(Reply { message, signed: true }),
            Err(ValidationError::ServerUnsigned) => Ok(Reply { message, signed: false }),
            Err(
                error @ (ValidationError::ServerBadKey
                | ValidationError::ServerBadSig
                | ValidationError::ServerBadTime { .. }),
            ) => Err(UpdateError::Refused(address, error::signature(error, &self.key.name()))),
            Err(error) => Err(lost(&error::signature(error, &self.key.name()))),
        }
    }
}

/// What came back.
struct Reply {
    message: Message<Vec<u8>>,
    /// By the key, and for the message that was sent.
    signed: bool,
}

async fn converse(mut stream: TcpStream, framed: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(framed).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

fn time(clock: &Clock) -> Time48 {
    Time48::from_u64(u64::try_from(clock.now().as_second()).unwrap_or_default())
}
