//! One JSON Schema of the runbook, from the types that read it and from the catalogue of step kinds.

use schemars::schema_for;
use serde_json::{Map, Value, json};

use super::{Catalogue, KindSpec};
use crate::runbook::RunbookKeys;

/// The schema. What `with` takes depends on `uses`.
pub fn schema(catalogue: Catalogue) -> Value {
    let mut root = schema_for!(RunbookKeys).to_value();
    let mut definitions = take_definitions(&mut root);
    let mut by_kind = Vec::new();
    for kind in catalogue.kinds {
        let name = format!("with.{}", kind.name);
        definitions.extend(kind_definitions(kind, &name));
        by_kind.push(json!({
            "if": { "properties": { "uses": { "const": kind.name } }, "required": ["uses"] },
            "then": { "properties": { "with": { "$ref": format!("#/$defs/{name}") } } },
        }));
    }
    let names: Vec<&str> = catalogue.kinds.iter().map(|kind| kind.name).collect();
    if let Some(step) = definitions.get_mut("Step").and_then(Value::as_object_mut) {
        step.insert("allOf".to_owned(), Value::Array(by_kind));
        if let Some(uses) = step.get_mut("properties").and_then(|it| it.get_mut("uses")) {
            uses["anyOf"] = json!([{ "enum": names }, { "pattern": r"\.ya?ml$" }]);
        }
    }
    root["$defs"] = Value::Object(definitions);
    root
}

fn take_definitions(schema: &mut Value) -> Map<String, Value> {
    let taken = schema.as_object_mut().and_then(|it| it.remove("$defs"));
    taken.and_then(|it| it.as_object().cloned()).unwrap_or_default()
}

/// A kind's parameters and what they refer to, under names of their own.
fn kind_definitions(kind: &KindSpec, name: &str) -> Vec<(String, Value)> {
    let mut schema = (kind.schema)().to_value();
    rename(&mut schema, &format!("#/$defs/{name}."));
    let definitions = take_definitions(&mut schema);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.insert("title".to_owned(), Value::from(kind.name));
        schema.insert("description".to_owned(), Value::from(kind.summary));
    }
    let inner = definitions.into_iter().map(|(inner, schema)| (format!("{name}.{inner}"), schema));
    inner.chain([(name.to_owned(), schema)]).collect()
}

fn rename(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(to) if key == "$ref" => {
                        if let Some(rest) = to.strip_prefix("#/$defs/") {
                            *to = format!("{prefix}{rest}");
                        }
                    }
                    value => rename(value, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, prefix)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                out.extend(entries.get("$ref").and_then(Value::as_str).map(str::to_owned));
                entries.values().for_each(|value| references(value, out));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, out)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_kind_is_there() {
        let catalogue = crate::steps::CATALOGUE;
        let schema = schema(catalogue);
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > catalogue.kinds.len());
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(schema.pointer(pointer).is_some(), "{reference}");
        }
        for kind in catalogue.kinds {
            assert!(schema["$defs"][format!("with.{}", kind.name)].is_object(), "{}", kind.name);
        }
    }
}
