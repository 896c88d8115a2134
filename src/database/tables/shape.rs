//! What two servers must agree in before rows can be compared, and how one table is read on both: pure.

use std::collections::{BTreeMap, BTreeSet};

use super::canon::Canon;
use super::sums::Split;

/// How the hash of a column's value is asked of its server. Every form tells apart whatever the server tells apart when it
/// writes the value out: `-0` from `0`, `1.0` from `1.00`, `1 mon` from `30 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Form {
    /// True or false.
    Bool,
    /// An integer of up to 32 bits.
    Int4,
    /// An integer of up to 64 bits.
    Int8,
    /// A decimal number.
    Decimal,
    /// A binary floating-point number.
    Float,
    /// One of the texts of a declaration, or several.
    Choice,
    /// What has to be made text first.
    Converted,
    /// A string of bits.
    Bits,
    /// Text.
    Text,
    /// A UUID.
    Uuid,
    /// Bytes.
    Bytes,
    /// Whatever has a fixed binary form, by the function that sends it.
    Sent(&'static str),
    /// What has to be spelled out, by the expression of its text with `{}` for the column.
    Spelled(&'static str),
    /// Everything else, as the server writes it out.
    Printed,
}

/// A column of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct ColumnShape {
    /// Its name.
    pub(in crate::database) name: String,
    /// Type, default and whatever else is part of its declaration, in the server's words.
    pub(in crate::database) declared: String,
    /// `NOT NULL`.
    pub(in crate::database) not_null: bool,
    /// See [`Form`].
    pub(in crate::database) form: Form,
    /// What it is on another engine too, if anything.
    pub(in crate::database) canon: Option<Canon>,
    /// Of a text: so short that those of a whole row are put together at no cost.
    pub(in crate::database) brief: bool,
}

/// Where rows of a table lie: the table itself, or one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct Relation {
    /// As it stands in a statement.
    pub(in crate::database) quoted: String,
    /// Pages, where rows can be read page by page.
    pub(in crate::database) pages: Option<u64>,
}

/// A table of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct Shape {
    /// As it stands in a statement.
    pub(in crate::database) quoted: String,
    /// In their order.
    pub(in crate::database) columns: Vec<ColumnShape>,
    /// Columns of the primary key, in its order; none without one.
    pub(in crate::database) key: Vec<String>,
    /// See [`Relation`].
    pub(in crate::database) relations: Vec<Relation>,
    /// Indexes, constraints, triggers: what each is by what it is called.
    pub(in crate::database) objects: BTreeMap<String, String>,
    /// Rows, as the server estimates.
    pub(in crate::database) estimate: u64,
    /// Why its rows can not be compared.
    pub(in crate::database) unreadable: Option<String>,
}

/// Which hash is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum By {
    /// The server's own, 64 bits: the same engine, major version and encoding, and columns of the same types.
    Own,
    /// The first 60 bits of MD5 over the values as their server writes them out.
    Text,
    /// The same over the one text that a value has on both engines.
    Canon,
}

/// A column as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct Asked {
    /// Its name.
    pub(in crate::database) name: String,
    /// See [`Form`].
    pub(in crate::database) form: Form,
    /// See [`Canon`].
    pub(in crate::database) canon: Option<Canon>,
    /// Whether NULL may come on either side: both must write the same statement.
    pub(in crate::database) nullable: bool,
    /// Declared in the same words on both sides: the bytes that are stored mean the same.
    pub(in crate::database) same: bool,
    /// A text that is short on both sides.
    pub(in crate::database) brief: bool,
}

/// How one side of a table is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::database) struct View {
    /// The table, as it stands in a statement.
    pub(in crate::database) quoted: String,
    /// See [`Relation`].
    pub(in crate::database) relations: Vec<Relation>,
    /// In the order of the source, on both sides.
    pub(in crate::database) columns: Vec<Asked>,
    /// Places of the key's columns; none without a key.
    pub(in crate::database) key: Vec<usize>,
    /// See [`By`].
    pub(in crate::database) by: By,
    /// See [`Split`].
    pub(in crate::database) split: Split,
    /// Parts whose rows are hashed, of a sample; of the others rows are counted.
    pub(in crate::database) drawn: Option<Vec<i64>>,
}

impl View {
    /// The columns that name a row: its key, or all where there is none.
    pub(in crate::database) fn naming(&self) -> Vec<&Asked> {
        if self.key.is_empty() {
            self.columns.iter().collect()
        } else {
            self.key.iter().map(|&at| &self.columns[at]).collect()
        }
    }
}

/// How alike two servers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alike {
    /// So much that a hash of their own is the same.
    InHashes,
    /// They write values out alike.
    InTexts,
    /// They are of two engines.
    Not,
}

/// Both sides of a table that can be read, and the columns that can not be compared; `Err` says why none can.
pub(super) fn views(
    source: &Shape,
    target: &Shape,
    alike: Alike,
) -> Result<([View; 2], Vec<String>), String> {
    if let Some(why) = source.unreadable.as_ref().or(target.unreadable.as_ref()) {
        return Err(why.clone());
    }
    let names = |shape: &Shape| -> BTreeSet<String> {
        shape.columns.iter().map(|column| column.name.clone()).collect()
    };
    if names(source) != names(target) || source.key != target.key {
        return Err("the columns do not match".to_owned());
    }
    let there = |name: &str| target.columns.iter().find(|column| column.name == name);
    let mut pairs: Vec<_> =
        source.columns.iter().filter_map(|here| Some((here, there(&here.name)?))).collect();
    let mut left_out = Vec::new();
    if alike == Alike::Not {
        pairs.retain(|(here, there)| {
            let canons = here.canon.zip(there.canon);
            let compared = canons.is_some_and(|(here, there)| here.meets(there));
            if !compared {
                left_out.push(format!("{} ({} and {})", here.name, here.declared, there.declared));
            }
            compared
        });
    }
    let place = |name: &String| pairs.iter().position(|(here, _)| here.name == *name);
    let Some(key) = source.key.iter().map(place).collect::<Option<Vec<usize>>>() else {
        return Err(format!("its key has no text on both engines: {}", left_out.join(", ")));
    };
    if pairs.is_empty() {
        return Err("no column of it has a text on both engines".to_owned());
    }
    let by = match alike {
        Alike::InHashes if pairs.iter().all(|(here, there)| here.form == there.form) => By::Own,
        Alike::InHashes | Alike::InTexts => By::Text,
        Alike::Not => By::Canon,
    };
    let view = |shape: &Shape, columns: Vec<&ColumnShape>| View {
        quoted: shape.quoted.clone(),
        relations: shape.relations.clone(),
        columns: columns
            .into_iter()
            .zip(&pairs)
            .map(|(column, (here, there))| Asked {
                name: column.name.clone(),
                form: column.form,
                canon: column.canon,
                nullable: !(here.not_null && there.not_null),
                same: here.declared == there.declared,
                brief: here.brief && there.brief,
            })
            .collect(),
        key: key.clone(),
        by,
        split: Split::Hashed,
        drawn: None,
    };
    let views = [
        view(source, pairs.iter().map(|pair| pair.0).collect()),
        view(target, pairs.iter().map(|pair| pair.1).collect()),
    ];
    Ok((views, left_out))
}

/// A table's name as people write it, on every engine alike: without the schema where it is the usual one, and quoted only where
/// a dot would mislead.
pub(super) fn shown(schema: &str, name: &str, usual: &str) -> String {
    let part = |name: &str| {
        if name.contains(['.', '"']) {
            format!("\"{}\"", name.replace('"', "\"\""))
        } else {
            name.to_owned()
        }
    };
    if schema == usual { part(name) } else { format!("{}.{}", part(schema), part(name)) }
}

/// In what two declarations differ, one line each. Two engines have no types, indexes and constraints in common.
pub(super) fn differences(source: &Shape, target: &Shape, alike: Alike) -> Vec<String> {
    let same_engine = alike != Alike::Not;
    let told = |shape: &Shape| -> BTreeMap<String, String> {
        let columns = shape.columns.iter().map(|column| {
            let null = if column.not_null { " not null" } else { "" };
            let declared = if same_engine { column.declared.as_str() } else { "a column" };
            let what = format!("{declared}{null}");
            (format!("column {}", column.name), what)
        });
        let key = (!shape.key.is_empty()).then(|| ("primary key".to_owned(), shape.key.join(", ")));
        let objects = shape
            .objects
            .iter()
            .filter(|_| same_engine)
            .map(|(name, what)| (name.clone(), what.clone()));
        columns.chain(key).chain(objects).collect()
    };
    let mut lines = unlike(&told(source), &told(target));
    let order = |shape: &Shape| -> Vec<String> {
        shape.columns.iter().map(|column| column.name.clone()).collect()
    };
    if same_engine && lines.is_empty() && order(source) != order(target) {
        lines.push("columns: in another order at the target".to_owned());
    }
    lines
}

/// In what two lists of named things differ, one line each.
pub(super) fn unlike(
    source: &BTreeMap<String, String>,
    target: &BTreeMap<String, String>,
) -> Vec<String> {
    let names: BTreeSet<&String> = source.keys().chain(target.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (source.get(name), target.get(name)) {
            (here, there) if here == there => None,
            (Some(here), Some(there)) => {
                Some(format!("{name}: {here} at the source, {there} at the target"))
            }
            (Some(_), None) => Some(format!("{name}: missing at the target")),
            (None, _) => Some(format!("{name}: extra at the target")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: &[(&str, &str, bool, Form)], key: &[&str]) -> Shape {
        let column = |(name, declared, not_null, form): &(&str, &str, bool, Form)| ColumnShape {
            name: (*name).to_owned(),
            declared: (*declared).to_owned(),
            not_null: *not_null,
            form: *form,
            canon: Some(Canon::Text),
            brief: false,
        };
        Shape {
            quoted: "public.t".to_owned(),
            columns: columns.iter().map(column).collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            relations: Vec::new(),
            objects: BTreeMap::new(),
            estimate: 0,
            unreadable: None,
        }
    }

    const ID: (&str, &str, bool, Form) = ("id", "bigint", true, Form::Int8);

    #[test]
    fn both_sides_are_asked_the_same_in_the_order_of_the_source() {
        let source = shape(&[ID, ("v", "text", true, Form::Text)], &["id"]);
        let target = shape(&[("v", "text", false, Form::Text), ID], &["id"]);
        let ([here, there], _) = views(&source, &target, Alike::InHashes).expect("comparable");
        assert_eq!((&here.columns, here.by), (&there.columns, By::Own));
        assert!(here.columns[1].nullable && !here.columns[0].nullable);
        assert_eq!(
            differences(&source, &target, Alike::InHashes),
            ["column v: text not null at the source, text at the target"]
        );
    }

    #[test]
    fn another_type_is_compared_as_text_and_another_column_not_at_all() {
        let source = shape(&[ID], &["id"]);
        let wider = shape(&[("id", "integer", true, Form::Int4)], &["id"]);
        assert_eq!(views(&source, &wider, Alike::InHashes).expect("comparable").0[0].by, By::Text);
        assert_eq!(views(&source, &source, Alike::InTexts).expect("comparable").0[0].by, By::Text);
        views(&source, &shape(&[ID, ("v", "text", true, Form::Text)], &["id"]), Alike::InHashes)
            .expect_err("a column more");
        views(&source, &shape(&[ID], &[]), Alike::InHashes).expect_err("no key");
    }

    #[test]
    fn order_alone_is_a_difference() {
        let (a, b) = (("a", "text", true, Form::Text), ("b", "text", true, Form::Text));
        let lines = differences(&shape(&[a, b], &[]), &shape(&[b, a], &[]), Alike::InHashes);
        assert_eq!(lines, ["columns: in another order at the target"]);
    }

    #[test]
    fn between_engines_what_has_no_text_is_left_out_and_said() {
        let source = shape(&[ID, ("v", "double", true, Form::Float)], &["id"]);
        let mut target = shape(&[("v", "double precision", true, Form::Float), ID], &["id"]);
        target.columns[0].canon = None;
        let ([here, _], left_out) = views(&source, &target, Alike::Not).expect("comparable");
        assert_eq!((here.columns.len(), here.by), (1, By::Canon));
        assert_eq!(left_out, ["v (double and double precision)"]);
        assert!(differences(&source, &target, Alike::Not).is_empty());
        target.columns[1].canon = None;
        views(&source, &target, Alike::Not).expect_err("no key");
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(shown("public", "orders", "public"), "orders");
        assert_eq!(shown("sales", "orders", "public"), "sales.orders");
        assert_eq!(shown("public", "a.b", "public"), "\"a.b\"");
        assert_eq!(shown("dbo", "Orders", "dbo"), "Orders");
    }
}
