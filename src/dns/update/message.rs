//! Update messages (RFC 2136): exactly this must be there, then exactly that shall be.
//!
//! Every message names its prerequisites. TTLs can not be among them: the protocol compares values only.

use domain::base::iana::{Class, Opcode};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError};
use domain::base::rdata::UnknownRecordData;
use domain::base::{MessageBuilder, Rtype};

use super::state::{Held, State};
use crate::dns::record::{Name, Rdata, RecordType, name};

type Message = AdditionalBuilder<Vec<u8>>;

/// From exactly `before` to exactly `after`; both name the same slots. All that goes, goes first: a CNAME and another
/// type can change places in one message.
pub(super) fn change(zone: &Name, before: &State, after: &State) -> Result<Message, PushError> {
    let mut message = requiring(zone, before)?.authority();
    let changed = || after.0.iter().filter(|(slot, held)| before.0.get(slot) != Some(held));
    for (slot, _) in changed() {
        if before.0.get(slot).is_some_and(Option::is_some) {
            message.push((&slot.name, Class::ANY, 0, empty(slot.kind)))?;
        }
    }
    for (slot, held) in changed() {
        let Some(held) = held else { continue };
        for wire in held.wires() {
            message.push((&slot.name, Class::IN, held.ttl, raw(slot.kind, wire)))?;
        }
    }
    Ok(message.additional())
}

/// The same prerequisites, and changes that change nothing because of them: from each record set goes a record that it
/// does not have, and where nothing is, everything goes. A server that carries it out has granted the rights.
pub(super) fn no_change(zone: &Name, before: &State) -> Result<Message, PushError> {
    let mut message = requiring(zone, before)?.authority();
    for (slot, held) in &before.0 {
        match held {
            None => message.push((&slot.name, Class::ANY, 0, empty(slot.kind)))?,
            Some(held) => {
                let wire = stranger(slot.kind, held).wire();
                message.push((&slot.name, Class::NONE, 0, raw(slot.kind, &wire)))?;
            }
        }
    }
    Ok(message.additional())
}

fn requiring(zone: &Name, before: &State) -> Result<AnswerBuilder<Vec<u8>>, PushError> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_random_id();
    message.header_mut().set_opcode(Opcode::UPDATE);
    let mut message = message.question();
    message.push((zone, Rtype::SOA))?;
    let mut message = message.answer();
    for (slot, held) in &before.0 {
        match held {
            None => message.push((&slot.name, Class::NONE, 0, empty(slot.kind)))?,
            Some(held) => {
                for wire in held.wires() {
                    message.push((&slot.name, Class::IN, 0, raw(slot.kind, wire)))?;
                }
            }
        }
    }
    Ok(message)
}

fn raw(kind: RecordType, wire: &[u8]) -> UnknownRecordData<&[u8]> {
    UnknownRecordData::from_octets(kind.rtype(), wire).expect("it came out of a record")
}

fn empty(kind: RecordType) -> UnknownRecordData<&'static [u8]> {
    raw(kind, &[])
}

/// A record that is not among these. None of its values leads anywhere.
fn stranger(kind: RecordType, held: &Held) -> Rdata {
    let nowhere = |label: u16| name(&format!("not-here-{label}.invalid")).expect("a name");
    let values = held.values();
    (0..=u16::MAX)
        .map(|at| match kind {
            // Addresses kept for documentation and discarding.
            RecordType::A => Rdata::A(u32::from(at).saturating_add(0xc000_0200).into()),
            RecordType::Aaaa => Rdata::Aaaa((0x0100 << 112 | u128::from(at)).into()),
            RecordType::Cname => Rdata::Cname(nowhere(at)),
            RecordType::Txt => Rdata::Txt(format!("not here {at}").into_bytes()),
            RecordType::Mx => Rdata::Mx(0, nowhere(at)),
            RecordType::Srv => Rdata::Srv(0, 0, 0, nowhere(at)),
        })
        .find(|value| !values.contains(value))
        .expect("a record set has fewer than 65536 records")
}

#[cfg(test)]
mod tests {
    use domain::base::Message;

    use super::*;
    use crate::dns::update::Slot;

    fn slot(kind: RecordType) -> Slot {
        Slot { name: name("crm.contoso.example").expect("a name"), kind }
    }

    fn state(a: Option<&str>, cname: Option<&str>) -> State {
        let held = |kind: RecordType, value: Option<&str>| {
            let values: Vec<String> = value.iter().map(|&value| value.to_owned()).collect();
            (slot(kind), Held::written(kind, 60, &values).expect("valid"))
        };
        State([held(RecordType::A, a), held(RecordType::Cname, cname)].into())
    }

    /// Class, type and TTL of each record of the prerequisites and of the changes.
    fn read(message: Result<super::Message, PushError>) -> [Vec<(String, String, u32)>; 2] {
        let message = message.expect("room").into_message();
        let message = Message::from_octets(message.as_slice()).expect("a message");
        [message.answer(), message.authority()].map(|section| {
            section
                .expect("a section")
                .map(|record| record.expect("a record"))
                .map(|it| (it.class().to_string(), it.rtype().to_string(), it.ttl().as_secs()))
                .collect()
        })
    }

    fn row(class: &str, rtype: &str, ttl: u32) -> (String, String, u32) {
        (class.to_owned(), rtype.to_owned(), ttl)
    }

    #[test]
    fn an_alias_and_an_address_change_places_in_one_message() {
        let zone = name("contoso.example").expect("a name");
        let (before, after) = (state(None, Some("a.example")), state(Some("192.0.2.1"), None));
        let [requires, changes] = read(change(&zone, &before, &after));
        assert_eq!(requires, [row("NONE", "A", 0), row("IN", "CNAME", 0)]);
        assert_eq!(changes, [row("*", "CNAME", 0), row("IN", "A", 60)]);
    }

    #[test]
    fn what_stays_is_required_and_not_touched() {
        let zone = name("contoso.example").expect("a name");
        let before = state(Some("192.0.2.1"), None);
        let [requires, changes] = read(change(&zone, &before, &before));
        assert_eq!(requires, [row("IN", "A", 0), row("NONE", "CNAME", 0)]);
        assert_eq!(changes, []);
    }

    #[test]
    fn a_proof_of_rights_takes_away_only_what_is_not_there() {
        let zone = name("contoso.example").expect("a name");
        let before = state(Some("192.0.2.0"), None);
        let [requires, changes] = read(no_change(&zone, &before));
        assert_eq!(requires, [row("IN", "A", 0), row("NONE", "CNAME", 0)]);
        assert_eq!(changes, [row("NONE", "A", 0), row("*", "CNAME", 0)]);
        let held = before.0[&slot(RecordType::A)].clone().expect("a record");
        assert_eq!(stranger(RecordType::A, &held).to_string(), "192.0.2.1");
    }
}
