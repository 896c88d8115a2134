//! From Swagger 2.0's schemas to JSON Schema 2020-12, which the `jsonschema` crate then checks.
//!
//! Stricter than Swagger where that finds mistakes: an object with declared properties takes no others (unless it says
//! so), a property that is read-only is refused in a request, an enumeration is closed, and a discriminator picks the one
//! derived schema that must hold. `allOf` is flattened for that, since a closed object can not be composed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::openapi::{Files, Node};

/// Who sends what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// Keywords that mean the same in both languages.
const SAME: [&str; 9] = [
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Formats that the validator knows and the services keep. Numbers' formats only tell their size.
const FORMATS: [&str; 3] = ["date-time", "duration", "uuid"];

/// The files, and a validator for each schema of theirs that was needed.
pub(crate) struct Schemas<'a> {
    pub(crate) files: &'a Files,
    built: RefCell<BTreeMap<(Side, String, String), Rc<jsonschema::Validator>>>,
}

impl<'a> Schemas<'a> {
    pub(crate) fn new(files: &'a Files) -> Self {
        Self { files, built: RefCell::default() }
    }

    /// A validator for `schema` as written in its file.
    pub(crate) fn validator(&self, side: Side, schema: &Node) -> Rc<jsonschema::Validator> {
        let key = (side, schema.file.clone(), schema.value.to_string());
        if let Some(built) = self.built.borrow().get(&key) {
            return Rc::clone(built);
        }
        let built = Rc::new(build(self.files, side, schema));
        self.built.borrow_mut().insert(key, Rc::clone(&built));
        built
    }
}

/// Turns schemas into one self-contained document.
struct Adapter<'a> {
    files: &'a Files,
    side: Side,
    /// What has been referred to, by file and name.
    names: BTreeMap<(String, String), String>,
    definitions: Map<String, Value>,
}

/// An object with everything it inherits.
#[derive(Default)]
struct Flat {
    properties: BTreeMap<String, Node>,
    required: BTreeSet<String>,
    additional: Option<Node>,
    /// What is no object: its keywords.
    keywords: Map<String, Value>,
    is_object: bool,
}

fn build(files: &Files, side: Side, schema: &Node) -> jsonschema::Validator {
    let mut adapter = Adapter { files, side, names: BTreeMap::new(), definitions: Map::new() };
    let mut document = adapter.of(&schema.file, &schema.value);
    document["$defs"] = Value::Object(adapter.definitions);
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(&document)
        .unwrap_or_else(|error| panic!("{}: no JSON Schema: {error}", schema.file))
}

/// Everything that is wrong with `value`, as `place: what`.
pub(crate) fn faults(validator: &jsonschema::Validator, value: &Value) -> Vec<String> {
    let shorten = |text: String| text.chars().take(300).collect::<String>();
    let errors = validator.iter_errors(value);
    errors.map(|error| shorten(format!("{}: {error}", error.instance_path()))).collect()
}

impl Adapter<'_> {
    fn of(&mut self, file: &str, schema: &Value) -> Value {
        let made = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let node = self.files.follow(file, reference);
                json!({ "$ref": format!("#/$defs/{}", self.definition(&node)) })
            }
            None => self.plain(file, schema),
        };
        if schema["x-nullable"] == true {
            return json!({ "anyOf": [made, { "type": "null" }] });
        }
        made
    }

    /// The key under `$defs` of what a reference leads to.
    fn definition(&mut self, node: &Node) -> String {
        let name = node.name.clone().unwrap_or_default();
        let id = (node.file.clone(), name.clone());
        if let Some(key) = self.names.get(&id) {
            return key.clone();
        }
        let key = format!("{}-{name}", self.names.len()).replace(['/', '~', '%', ' '], "_");
        self.names.insert(id, key.clone());
        let discriminator = node.value["discriminator"].as_str();
        let made = match discriminator {
            Some(discriminator) => self.family(node, discriminator),
            None => self.plain(&node.file, &node.value),
        };
        self.definitions.insert(key.clone(), made);
        key
    }

    /// A base and everything derived from it: the discriminator says which of them must hold.
    fn family(&mut self, base: &Node, discriminator: &str) -> Value {
        let mut members = vec![(value_of(base), self.plain(&base.file, &base.value))];
        for derived in derived(self.files, base) {
            let key = self.definition(&derived);
            members.push((value_of(&derived), json!({ "$ref": format!("#/$defs/{key}") })));
        }
        let values: Vec<_> = members.iter().map(|(value, _)| value.clone()).collect();
        let cases = members.into_iter().map(|(value, schema)| {
            json!({ "if": { "properties": { discriminator: { "const": value } } }, "then": schema })
        });
        json!({
            "type": "object", "required": [discriminator],
            "properties": { discriminator: { "enum": values } },
            "allOf": cases.collect::<Vec<_>>(),
        })
    }

    fn plain(&mut self, file: &str, schema: &Value) -> Value {
        let mut flat = Flat::default();
        self.flatten(file, schema, &mut flat);
        let mut made = std::mem::take(&mut flat.keywords);
        if flat.is_object {
            self.object(flat, &mut made);
        }
        if let Some(items) = schema.get("items") {
            made.insert("items".to_owned(), self.of(file, items));
        }
        Value::Object(made)
    }

    fn object(&mut self, flat: Flat, made: &mut Map<String, Value>) {
        let (mut properties, mut required) = (Map::new(), flat.required);
        let closed = !flat.properties.is_empty();
        for (name, node) in flat.properties {
            let read_only = is_read_only(&node.value)
                || is_read_only(&self.files.settled(&node.file, &node.value).value);
            let schema = if self.side == Side::Request && read_only {
                required.remove(&name);
                Value::Bool(false)
            } else {
                self.of(&node.file, &node.value)
            };
            properties.insert(name, schema);
        }
        let additional = match flat.additional {
            Some(Node { value: Value::Bool(open), .. }) => Value::Bool(open),
            Some(node) => self.of(&node.file, &node.value),
            None => Value::Bool(!closed),
        };
        made.insert("type".to_owned(), json!("object"));
        made.insert("properties".to_owned(), Value::Object(properties));
        made.insert("required".to_owned(), json!(required));
        made.insert("additionalProperties".to_owned(), additional);
    }

    /// Adds a schema and its bases; what is nearer wins.
    fn flatten(&self, file: &str, schema: &Value, flat: &mut Flat) {
        for base in schema["allOf"].as_array().into_iter().flatten() {
            let node = self.files.settled(file, base);
            self.flatten(&node.file, &node.value, flat);
        }
        let node = |value: &Value| Node { file: file.to_owned(), name: None, value: value.clone() };
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            flat.properties.insert(name.clone(), node(property));
            flat.is_object = true;
        }
        let required = schema["required"].as_array().into_iter().flatten();
        flat.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
        if let Some(additional) = schema.get("additionalProperties") {
            flat.additional = Some(node(additional));
            flat.is_object = true;
        }
        flat.is_object |= schema["type"] == "object" && schema.get("allOf").is_none();
        keywords(schema, &mut flat.keywords);
    }
}

fn keywords(schema: &Value, into: &mut Map<String, Value>) {
    let mut put = |key: &str, value: &Value| into.insert(key.to_owned(), value.clone());
    for key in SAME {
        if let Some(value) = schema.get(key) {
            put(key, value);
        }
    }
    match schema["type"].as_str() {
        None | Some("object" | "file") => {}
        Some(_) => drop(put("type", &schema["type"])),
    }
    if schema["format"].as_str().is_some_and(|format| FORMATS.contains(&format)) {
        put("format", &schema["format"]);
    }
    for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(value) = schema.get(limit) {
            put(if schema[exclusive] == true { exclusive } else { limit }, value);
        }
    }
}

fn is_read_only(property: &Value) -> bool {
    let only_read = json!(["read"]);
    property["readOnly"] == true || property["x-ms-mutability"] == only_read
}

/// What the discriminator says for this definition.
fn value_of(node: &Node) -> Value {
    match node.value.get("x-ms-discriminator-value") {
        Some(value) => value.clone(),
        None => json!(node.name),
    }
}

/// Every definition that inherits from `base`, directly or not, in any file that belongs to it.
fn derived(files: &Files, base: &Node) -> Vec<Node> {
    let mut found: Vec<Node> = Vec::new();
    let mut bases = vec![(base.file.clone(), base.name.clone())];
    while let Some((of_file, of_name)) = bases.pop() {
        for file in files.reach(&of_file) {
            let document = files.file(&file);
            for (name, value) in document["definitions"].as_object().into_iter().flatten() {
                let inherits = value["allOf"].as_array().into_iter().flatten().any(|it| {
                    let Some(reference) = it["$ref"].as_str() else { return false };
                    let node = files.follow(&file, reference);
                    node.file == of_file && node.name == of_name
                });
                if inherits {
                    let name = Some(name.clone());
                    bases.push((file.clone(), name.clone()));
                    found.push(Node { file: file.clone(), name, value: value.clone() });
                }
            }
        }
    }
    found
}
