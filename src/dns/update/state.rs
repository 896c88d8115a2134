//! What a primary holds at some names and types of a zone: what one update compares with, and what it leaves.
//!
//! Records are kept as they go over the wire, so that what is put back is what was there. In the journal each stands as
//! text, too, for whoever reads it there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use domain::base::Name as AnyName;
use domain::base::name::ParsedName;
use domain::base::wire::ParseError;
use domain::dep::octseq::Parser;
use domain::rdata::{A, Aaaa, Cname, Mx, Srv, Txt};
use serde::{Deserialize, Serialize};

use crate::dns::record::{Name, Rdata, RecordType, RrSet, name};

/// One name and type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The whole name.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The records of one name and type. Never empty.
#[derive(Debug, Clone)]
pub struct Held {
    /// Seconds.
    pub ttl: u32,
    /// Each record's value, and its wire form.
    records: BTreeSet<(Rdata, Vec<u8>)>,
}

/// Equal for whoever asks: the same values with the same TTL, however a text is cut into strings.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.ttl == other.ttl && self.values() == other.values()
    }
}

impl Eq for Held {}

impl Held {
    /// These records; none where there is none.
    pub fn of(ttl: u32, records: impl IntoIterator<Item = (Rdata, Vec<u8>)>) -> Option<Self> {
        let records: BTreeSet<_> = records.into_iter().collect();
        (!records.is_empty()).then_some(Self { ttl, records })
    }

    /// The records as somebody wrote their values.
    pub fn written(kind: RecordType, ttl: u32, values: &[String]) -> Result<Option<Self>, String> {
        let read = |value: &String| kind.parse(value).map(|rdata| (rdata.clone(), rdata.wire()));
        Ok(Self::of(ttl, values.iter().map(read).collect::<Result<Vec<_>, _>>()?))
    }

    /// Their values.
    pub fn values(&self) -> BTreeSet<Rdata> {
        self.records.iter().map(|(value, _)| value.clone()).collect()
    }

    /// Their wire forms.
    pub(super) fn wires(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|(_, wire)| wire.as_slice())
    }

    /// As a server would answer it.
    pub fn as_set(&self) -> RrSet {
        RrSet { ttl: self.ttl, values: self.values() }
    }

    /// The same records under another TTL.
    #[must_use]
    pub fn with_ttl(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_set().fmt(f)
    }
}

/// Several of them at once; none where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, Option<Recorded>>",
    into = "BTreeMap<String, Option<Recorded>>"
)]
pub struct State(pub BTreeMap<Slot, Option<Held>>);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (slot, held)) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { "; " };
            match held {
                Some(held) => write!(f, "{gap}{slot}: {held}")?,
                None => write!(f, "{gap}{slot}: no record")?,
            }
        }
        Ok(())
    }
}

/// Records as they stand in a journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Recorded {
    ttl: u32,
    values: Vec<String>,
    /// In hexadecimal, where the values alone would not give the same bytes again: a text in strings of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wires: Vec<String>,
}

impl From<State> for BTreeMap<String, Option<Recorded>> {
    fn from(state: State) -> Self {
        let recorded = |kind: RecordType, held: &Held| {
            let plain = held.records.iter().all(|(value, wire)| {
                kind.parse(&value.written()).is_ok_and(|value| value.wire() == *wire)
            });
            Recorded {
                ttl: held.ttl,
                values: held.records.iter().map(|(value, _)| value.written()).collect(),
                wires: if plain { Vec::new() } else { held.wires().map(hex).collect() },
            }
        };
        let slots = state.0.iter();
        slots
            .map(|(slot, held)| {
                (slot.to_string(), held.as_ref().map(|held| recorded(slot.kind, held)))
            })
            .collect()
    }
}

impl TryFrom<BTreeMap<String, Option<Recorded>>> for State {
    type Error = String;

    fn try_from(recorded: BTreeMap<String, Option<Recorded>>) -> Result<Self, String> {
        let slots = recorded.into_iter().map(|(text, recorded)| {
            let slot: Slot = text.parse()?;
            let held = recorded.map(|recorded| recorded.read(slot.kind)).transpose()?.flatten();
            Ok::<_, String>((slot, held))
        });
        Ok(Self(slots.collect::<Result<_, _>>()?))
    }
}

impl Recorded {
    fn read(&self, kind: RecordType) -> Result<Option<Held>, String> {
        if self.wires.is_empty() {
            return Held::written(kind, self.ttl, &self.values);
        }
        let record = |hex: &String| {
            let wire = from_hex(hex).ok_or("a record is not in hexadecimal")?;
            let value = value(kind, &wire).map_err(|why| why.to_string())?;
            Ok::<_, String>((value, wire))
        };
        Ok(Held::of(self.ttl, self.wires.iter().map(record).collect::<Result<Vec<_>, _>>()?))
    }
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, whole) = text.split_once(' ').ok_or("a type and a name are needed")?;
        let kind = RecordType::ALL.into_iter().find(|it| it.as_str() == kind);
        let kind = kind.ok_or_else(|| format!("`{text}` names no type of record"))?;
        Ok(Self { name: name(whole).map_err(|why| why.to_string())?, kind })
    }
}

fn hex(wire: &[u8]) -> String {
    wire.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The value that a wire form without compressed names stands for.
fn value(kind: RecordType, wire: &[u8]) -> Result<Rdata, ParseError> {
    let mut from = Parser::from_ref(wire);
    let from = &mut from;
    let value = match kind {
        RecordType::A => Rdata::A(A::parse(from)?.addr()),
        RecordType::Aaaa => Rdata::Aaaa(Aaaa::parse(from)?.addr()),
        RecordType::Cname => {
            Rdata::Cname(owned(&Cname::<ParsedName<&[u8]>>::parse(from)?.into_cname()))
        }
        RecordType::Txt => Rdata::Txt(Txt::<&[u8]>::parse(from)?.text()),
        RecordType::Mx => {
            let mx = Mx::<ParsedName<&[u8]>>::parse(from)?;
            Rdata::Mx(mx.preference(), owned(mx.exchange()))
        }
        RecordType::Srv => {
            let srv = Srv::<ParsedName<&[u8]>>::parse(from)?;
            Rdata::Srv(srv.priority(), srv.weight(), srv.port(), owned(srv.target()))
        }
    };
    if from.remaining() > 0 { Err(ParseError::form_error("trailing bytes")) } else { Ok(value) }
}

fn owned(name: &ParsedName<&[u8]>) -> AnyName<Vec<u8>> {
    use domain::base::ToName as _;
    name.to_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(kind: RecordType) -> Slot {
        Slot { name: name("crm.contoso.example").expect("a name"), kind }
    }

    #[test]
    fn every_type_goes_into_a_journal_and_comes_back_exactly() {
        let mut state = State::default();
        for (kind, value) in [
            (RecordType::A, "192.0.2.7"),
            (RecordType::Aaaa, "2001:db8::7"),
            (RecordType::Cname, "Target.contoso.example"),
            (RecordType::Txt, "v=spf1 \"quoted\" -all"),
            (RecordType::Mx, "10 mail.contoso.example"),
        ] {
            let held = Held::written(kind, 60, &[value.to_owned()]).expect("valid");
            state.0.insert(slot(kind), held);
        }
        state.0.insert(slot(RecordType::Srv), None);
        let text = serde_json::to_string(&state).expect("JSON");
        let read: State = serde_json::from_str(&text).expect("a state");
        assert_eq!(read, state);
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        assert!(
            text.contains(r#""A crm.contoso.example":{"ttl":60,"values":["192.0.2.7"]}"#),
            "{text}"
        );
        assert!(!text.contains("wires"), "{text}");
    }

    #[test]
    fn a_text_keeps_its_strings_but_compares_without_them() {
        let one = Held::of(60, [(Rdata::Txt(b"ab".to_vec()), b"\x02ab".to_vec())]);
        let two = Held::of(60, [(Rdata::Txt(b"ab".to_vec()), b"\x01a\x01b".to_vec())]);
        assert_eq!(one, two);
        let state = |held: &Option<Held>| State([(slot(RecordType::Txt), held.clone())].into());
        let text = serde_json::to_string(&state(&two)).expect("JSON");
        assert!(text.contains("01610162"), "{text}");
        let read: State = serde_json::from_str(&text).expect("a state");
        let wires: Vec<Vec<u8>> =
            read.0.values().flatten().flat_map(Held::wires).map(<[u8]>::to_vec).collect();
        assert_eq!(wires, [b"\x01a\x01b".to_vec()]);
    }

    #[test]
    fn a_damaged_record_is_refused() {
        for wire in ["c0000", "zz", "c00002", "c000020102"] {
            let text = format!(
                r#"{{"A crm.contoso.example":{{"ttl":1,"values":[],"wires":["{wire}"]}}}}"#
            );
            assert!(serde_json::from_str::<State>(&text).is_err(), "{wire}");
        }
        for slot in ["crm.contoso.example", "NS crm.contoso.example", "A crm..example"] {
            assert!(slot.parse::<Slot>().is_err(), "{slot}");
        }
    }
}
