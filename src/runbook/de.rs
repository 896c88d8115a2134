//! Typed values out of a [`Node`] tree, with every mistake at its place and all of them at once.
//!
//! [`read`] runs an ordinary serde `Deserialize` over the tree. When it fails, the node at fault is noted and left out, and
//! it runs again, until it succeeds or nothing is left to leave out. Unknown keys of a struct do not stop it at all.
//! The value that comes out after a mistake lacks the parts that were wrong; it is good for finding more mistakes, and
//! the caller sees by the diagnostics that it must not be run.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};

use super::node::{Key, Kind, Node};
use super::words;
use crate::diagnostic::mask::is_secret_name;
use crate::diagnostic::source::Sources;
use crate::diagnostic::{Diagnostic, Place};

/// More mistakes than this in one value are not looked for.
const MAX_MISTAKES: usize = 50;

/// Reads a tree as `T`. `None` when so much is wrong that nothing is left; every reason is in `out`.
pub fn read<T: de::DeserializeOwned>(
    node: &Node,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
) -> Option<T> {
    read_with(node, sources, out, |from| T::deserialize(from).map_err(|error| error.to_string()))
}

/// Runs a kind's `check` over a tree. True when it found nothing wrong.
pub fn check(
    node: &Node,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
    check: fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>,
) -> bool {
    read_with(node, sources, out, |from| {
        check(&mut <dyn erased_serde::Deserializer<'_>>::erase(from))
            .map_err(|error| error.to_string())
    })
    .is_some()
}

fn read_with<T>(
    node: &Node,
    sources: &Sources,
    out: &mut Vec<Diagnostic>,
    run: impl Fn(Reader<'_>) -> Result<T, String>,
) -> Option<T> {
    let notes = Notes {
        sources,
        found: RefCell::default(),
        left_out: RefCell::default(),
        first: RefCell::default(),
    };
    let mut result = None;
    for _ in 0..MAX_MISTAKES {
        let why = match run(Reader { node, notes: &notes, secret: false }) {
            Ok(value) => {
                result = Some(value);
                break;
            }
            Err(why) => why,
        };
        let Some((at, problem)) = notes.first.take() else {
            // No value was wrong by itself; together they are. After another mistake that may just follow from it.
            if notes.found.borrow().is_empty() {
                out.push(together(&why, sources.place(node.mark)));
            }
            break;
        };
        let forgiven = notes.forgives(at, &problem);
        if !notes.left_out.borrow_mut().insert(address(at)) {
            break;
        }
        if !forgiven {
            notes.found.borrow_mut().push(problem.into_diagnostic(at, sources));
        }
        if std::ptr::eq(at, node) {
            break;
        }
    }
    out.append(&mut notes.found.borrow_mut());
    result
}

/// Parameters that are right one by one and do not go together.
pub fn together(why: &str, place: Place) -> Diagnostic {
    let hint = "`migrate explain` with the name of the kind shows its parameters and an example";
    Diagnostic::error("RB029", why).at(place).hint(hint)
}

/// What one reading found so far.
struct Notes<'n> {
    sources: &'n Sources,
    found: RefCell<Vec<Diagnostic>>,
    /// Nodes that the next attempt passes over.
    left_out: RefCell<HashSet<usize>>,
    /// Where this attempt failed: the innermost node that saw the error. Errors lose their type on the way out through
    /// a type-erased deserializer, so it is kept here.
    first: RefCell<Option<(&'n Node, Problem)>>,
}

fn address(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

impl Notes<'_> {
    fn is_left_out(&self, node: &Node) -> bool {
        let left_out = self.left_out.borrow();
        !left_out.is_empty() && left_out.contains(&address(node))
    }

    /// A mistake that follows from another one, or from a value not known yet, is not told.
    fn forgives(&self, at: &Node, problem: &Problem) -> bool {
        if let Problem::Missing(key) = problem {
            // The key is there but wrong, or misspelt; either is reported already.
            return at.entries().iter().any(|(written, value)| {
                written.text == *key
                    || self.is_left_out(value)
                        && words::closest(&written.text, [*key].into_iter()).is_some()
            });
        }
        contains_later(at) || at.entries().iter().any(|(_, value)| self.is_left_out(value))
    }
}

fn contains_later(node: &Node) -> bool {
    match &node.kind {
        Kind::Later(_) => true,
        Kind::List(items) => items.iter().any(contains_later),
        Kind::Map(entries) => entries.iter().any(|(_, value)| contains_later(value)),
        _ => false,
    }
}

/// What was wrong, before it has a place.
#[derive(Debug, Clone)]
enum Problem {
    Type {
        expected: String,
        found: String,
    },
    Missing(&'static str),
    Variant {
        found: String,
        known: &'static [&'static str],
    },
    Other(String),
    /// The same with the value hidden.
    Hidden,
}

impl Problem {
    fn into_diagnostic(self, at: &Node, sources: &Sources) -> Diagnostic {
        let place = sources.place(at.mark);
        match self {
            Self::Type { expected, found } => {
                let hint = type_hint(&expected, at);
                let message = format!("expected {expected}, found {found}");
                Diagnostic::error("RB005", message).at(place).hint(hint)
            }
            Self::Missing(key) => Diagnostic::error("RB006", format!("the key `{key}` is missing"))
                .at(place)
                .hint(format!(
                    "add `{key}:`; `migrate schema` and `migrate explain` say what it takes"
                )),
            Self::Variant { found, known } => {
                Diagnostic::error("RB005", format!("`{found}` is not one of the values known here"))
                    .at(place)
                    .hint(words::suggest(&found, known.iter().copied()))
            }
            Self::Other(message) => Diagnostic::error("RB005", message)
                .at(place)
                .hint("correct the value; `migrate schema` says what it takes"),
            Self::Hidden => Diagnostic::error("RB005", "this is not what is expected here")
                .at(place)
                .hint("the value is not shown: it may be a secret"),
        }
    }
}

fn type_hint(expected: &str, at: &Node) -> String {
    match (expected, &at.kind) {
        ("text", Kind::Number(_) | Kind::Bool(_)) => {
            "put it in quotes to make it a text".to_owned()
        }
        ("text", Kind::Map(_)) => {
            "write a text; put quotes around one that begins with `{{`".to_owned()
        }
        ("a list", Kind::Text(_) | Kind::Number(_)) => {
            "put it in brackets to make it a list of one".to_owned()
        }
        _ => format!("write {expected}"),
    }
}

/// The error of one attempt.
#[derive(Debug)]
pub struct Failed(Problem);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Other(message) => f.write_str(message),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Problem::Type {
            expected: words::expected(&expected.to_string()),
            found: words::found(&found),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self(Problem::Variant { found: found.to_owned(), known })
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        let hint = words::suggest(found, known.iter().copied());
        Self(Problem::Other(format!("unknown key `{found}`; {hint}")))
    }

    fn missing_field(key: &'static str) -> Self {
        Self(Problem::Missing(key))
    }
}

/// The deserializer: one node, and whether it may hold a secret.
#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node,
    notes: &'n Notes<'n>,
    secret: bool,
}

impl<'n> Reader<'n> {
    /// Keeps the first error of an attempt with the innermost node that saw it.
    fn noting<V>(self, result: Result<V, Failed>) -> Result<V, Failed> {
        result.inspect_err(|error| {
            let problem = match &error.0 {
                Problem::Missing(key) => Problem::Missing(key),
                _ if self.secret => Problem::Hidden,
                problem => problem.clone(),
            };
            self.notes.first.borrow_mut().get_or_insert((self.node, problem));
        })
    }

    fn any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failed> {
        match &self.node.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(value) => Self::number(value, visitor),
            Kind::Text(text) | Kind::Later(text) => visitor.visit_borrowed_str(text),
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter(), reader: self }),
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries, None, self)),
        }
    }

    fn number<V: Visitor<'n>>(value: &serde_json::Number, visitor: V) -> Result<V::Value, Failed> {
        if let Some(value) = value.as_u64() {
            visitor.visit_u64(value)
        } else if let Some(value) = value.as_i64() {
            visitor.visit_i64(value)
        } else {
            visitor.visit_f64(value.as_f64().unwrap_or_default())
        }
    }
}

impl<'n> Deserializer<'n> for Reader<'n> {
    type Error = Failed;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failed> {
        let result = self.any(visitor);
        self.noting(result)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failed> {
        match self.node.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let result = visitor.visit_newtype_struct(self);
        self.noting(result)
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let result = match &self.node.kind {
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries, Some(fields), self)),
            // serde would take a list for the fields in their order; an author never means that.
            Kind::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &"a mapping")),
            _ => self.any(visitor),
        };
        self.noting(result)
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let result = match &self.node.kind {
            Kind::Text(text) | Kind::Later(text) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            Kind::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant { entry: &entries[0], reader: self })
            }
            Kind::Map(_) => Err(de::Error::custom("expected a mapping with exactly one key")),
            _ => self.any(visitor),
        };
        self.noting(result)
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Items<'n> {
    items: std::slice::Iter<'n, Node>,
    reader: Reader<'n>,
}

impl<'n> de::SeqAccess<'n> for Items<'n> {
    type Error = Failed;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failed> {
        let notes = self.reader.notes;
        let Some(node) = self.items.find(|node| !notes.is_left_out(node)) else { return Ok(None) };
        seed.deserialize(Reader { node, ..self.reader }).map(Some)
    }
}

struct Entries<'n> {
    rest: std::slice::Iter<'n, (Key, Node)>,
    /// Keys of the struct that is read; none for a mapping with any keys.
    fields: Option<&'static [&'static str]>,
    current: Option<&'n (Key, Node)>,
    reader: Reader<'n>,
}

impl<'n> Entries<'n> {
    fn new(
        entries: &'n [(Key, Node)],
        fields: Option<&'static [&'static str]>,
        reader: Reader<'n>,
    ) -> Self {
        Self { rest: entries.iter(), fields, current: None, reader }
    }

    /// Reports a key the struct does not have, once.
    fn refuse(&self, key: &Key, value: &Node, fields: &'static [&'static str]) {
        let notes = self.reader.notes;
        if notes.left_out.borrow_mut().insert(address(value)) {
            notes.found.borrow_mut().push(unknown_key(key, fields.iter().copied(), notes.sources));
        }
    }
}

/// The diagnostic for a key nobody knows.
pub fn unknown_key<'k>(
    key: &Key,
    known: impl Iterator<Item = &'k str>,
    sources: &Sources,
) -> Diagnostic {
    Diagnostic::error("RB004", format!("unknown key `{}`", key.text))
        .at(sources.place(key.mark))
        .hint(words::suggest(&key.text, known))
}

impl<'n> de::MapAccess<'n> for Entries<'n> {
    type Error = Failed;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        loop {
            let Some(entry @ (key, value)) = self.rest.next() else { return Ok(None) };
            match self.fields {
                Some(fields) if !fields.contains(&key.text.as_str()) => {
                    self.refuse(key, value, fields);
                }
                _ if self.reader.notes.is_left_out(value) => {}
                _ => {
                    self.current = Some(entry);
                    // A key that cannot be read takes its entry with it.
                    let reader = Reader { node: value, ..self.reader };
                    let text = de::value::BorrowedStrDeserializer::new(&key.text);
                    return reader.noting(seed.deserialize(text).map(Some));
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Failed> {
        let (key, node) = self.current.take().expect("serde asks for a key first");
        let secret = self.reader.secret || is_secret_name(&key.text);
        seed.deserialize(Reader { node, secret, ..self.reader })
    }
}

struct Variant<'n> {
    entry: &'n (Key, Node),
    reader: Reader<'n>,
}

impl<'n> de::EnumAccess<'n> for Variant<'n> {
    type Error = Failed;
    type Variant = Reader<'n>;

    fn variant_seed<V: DeserializeSeed<'n>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'n>), Failed> {
        let (key, node) = self.entry;
        let variant = seed.deserialize(key.text.as_str().into_deserializer())?;
        let secret = self.reader.secret || is_secret_name(&key.text);
        Ok((variant, Reader { node, secret, ..self.reader }))
    }
}

impl<'n> de::VariantAccess<'n> for Reader<'n> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        let result = match self.node.kind {
            Kind::Null => Ok(()),
            _ => Err(de::Error::custom("this takes no value")),
        };
        self.noting(result)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, Failed> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'n>>(self, _len: usize, visitor: V) -> Result<V::Value, Failed> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.deserialize_struct("", fields, visitor)
    }
}
