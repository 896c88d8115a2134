//! ARM templates, as far as a rehearsal needs them: parameters, variables, the common functions, resources, outputs.
//!
//! What it does not know it refuses by name; it never guesses a value.

mod expression;

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::super::scenario::SUBSCRIPTION;

/// A template with its parameters' values.
pub(super) struct Template<'a> {
    pub(super) group: &'a str,
    pub(super) location: &'a str,
    pub(super) deployment: &'a str,
    source: &'a Value,
    parameters: Map<String, Value>,
    depth: Cell<u32>,
}

/// One resource, evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resource {
    pub(super) id: String,
    pub(super) body: Value,
}

/// Expressions may nest so deep; variables that name each other in a circle end here.
const DEPTH_MAX: u32 = 64;

impl<'a> Template<'a> {
    /// Checks parameters against their declarations.
    pub(super) fn new(
        properties: &'a Value,
        group: &'a str,
        location: &'a str,
        deployment: &'a str,
    ) -> Result<Self, String> {
        let source = &properties["template"];
        if !source["resources"].is_array() {
            return Err(
                "Deployment template validation failed: 'the template has no resources array'."
                    .to_owned(),
            );
        }
        let mut template = Self {
            group,
            location,
            deployment,
            source,
            parameters: Map::new(),
            depth: Cell::new(0),
        };
        let empty = Map::new();
        let declared = source["parameters"].as_object().unwrap_or(&empty);
        let given = properties["parameters"].as_object().unwrap_or(&empty);
        if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
            return Err(format!(
                "Deployment template validation failed: 'The template parameters '{unknown}' in the parameters file are not valid; they are not present in the original template'."
            ));
        }
        for (name, declaration) in declared {
            let value = match (given.get(name), declaration.get("defaultValue")) {
                (Some(given), _) => given["value"].clone(),
                (None, Some(default)) => template.evaluate(default)?,
                (None, None) => {
                    return Err(format!(
                        "Deployment template validation failed: 'The value for the template parameter '{name}' is not provided.'."
                    ));
                }
            };
            let allowed = declaration["allowedValues"].as_array();
            if allowed.is_some_and(|allowed| !allowed.contains(&value)) {
                return Err(format!(
                    "Deployment template validation failed: 'The provided value for the template parameter '{name}' is not one of the allowed values.'."
                ));
            }
            template.parameters.insert(name.clone(), value);
        }
        Ok(template)
    }

    /// The group's id.
    pub(super) fn group_id(&self) -> String {
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{}", self.group)
    }

    /// The resources whose condition holds, in order.
    pub(super) fn resources(&self) -> Result<Vec<Resource>, String> {
        let mut resources = Vec::new();
        for written in self.source["resources"].as_array().into_iter().flatten() {
            let condition =
                written.get("condition").map_or(Ok(json!(true)), |it| self.evaluate(it))?;
            if condition == false {
                continue;
            }
            if written.get("copy").is_some() {
                return Err("The sandbox does not expand 'copy' in a template.".to_owned());
            }
            let body = self.evaluate(written)?;
            let text = |field: &str| {
                let value = body[field].as_str();
                value.ok_or_else(|| {
                    format!("Deployment template validation failed: 'a resource lacks '{field}''.")
                })
            };
            let (kind, name) = (text("type")?, text("name")?);
            text("apiVersion")?;
            if kind.to_ascii_lowercase().starts_with("microsoft.network/dnszones") {
                return Err("The sandbox does not deploy DNS zones from templates.".to_owned());
            }
            let id = resource_id(&self.group_id(), kind, &name.split('/').collect::<Vec<_>>())?;
            resources.push(Resource { id, body });
        }
        Ok(resources)
    }

    /// Outputs, with `reference` finding what `resources` brings.
    pub(super) fn outputs(&self) -> Result<Map<String, Value>, String> {
        let mut outputs = Map::new();
        for (name, output) in self.source["outputs"].as_object().into_iter().flatten() {
            let value = self.evaluate(&output["value"])?;
            outputs.insert(name.clone(), json!({ "type": output["type"], "value": value }));
        }
        Ok(outputs)
    }

    /// Parameters as a deployment shows them: without the values of secure ones.
    pub(super) fn shown_parameters(&self) -> Value {
        let mut shown = Map::new();
        for (name, value) in &self.parameters {
            let kind = self.source["parameters"][name]["type"].as_str().unwrap_or("String");
            let secure = kind.to_ascii_lowercase().starts_with("secure");
            let shape = if secure {
                json!({ "type": kind })
            } else {
                json!({ "type": kind, "value": value })
            };
            shown.insert(name.clone(), shape);
        }
        Value::Object(shown)
    }

    /// Every expression in a value, replaced by what it stands for.
    fn evaluate(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) if text.starts_with("[[") => Ok(json!(text[1..])),
            Value::String(text) if text.starts_with('[') && text.ends_with(']') => {
                self.depth.set(self.depth.get() + 1);
                let result = if self.depth.get() > DEPTH_MAX {
                    Err(format!("The template expression '{text}' nests too deep or names itself."))
                } else {
                    expression::evaluate(self, &text[1..text.len() - 1])
                };
                self.depth.set(self.depth.get() - 1);
                result
            }
            Value::Array(items) => items.iter().map(|item| self.evaluate(item)).collect(),
            Value::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, field)| Ok((name.clone(), self.evaluate(field)?)));
                fields.collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    fn parameter(&self, name: &str) -> Result<Value, String> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            format!("Deployment template validation failed: 'The template parameter '{name}' is not found.'.")
        })
    }

    fn variable(&self, name: &str) -> Result<Value, String> {
        let variables = self.source["variables"].as_object();
        let found =
            variables.into_iter().flatten().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = found.ok_or_else(|| {
            format!("Deployment template validation failed: 'The template variable '{name}' is not found.'.")
        })?;
        self.evaluate(value)
    }

    /// The properties of a resource of this template, by name or id.
    fn reference(&self, of: &str) -> Result<Value, String> {
        let found = self.resources()?.into_iter().find(|resource| {
            resource.id.eq_ignore_ascii_case(of) || resource.body["name"].as_str() == Some(of)
        });
        let resource =
            found.ok_or_else(|| format!("The resource '{of}' is not defined in the template."))?;
        let mut properties = resource.body["properties"].clone();
        properties["provisioningState"] = json!("Succeeded");
        Ok(properties)
    }
}

/// `{scope}/providers/A.B/x/{name}/y/{name}` from `A.B/x/y` and the names.
fn resource_id(scope: &str, kind: &str, names: &[&str]) -> Result<String, String> {
    let (namespace, kinds) =
        kind.split_once('/').ok_or_else(|| format!("'{kind}' is not a resource type."))?;
    let kinds: Vec<_> = kinds.split('/').collect();
    if kinds.len() != names.len() {
        return Err(format!(
            "Deployment template validation failed: 'The template resource '{}' for type '{kind}' has incorrect segment lengths.'.",
            names.join("/")
        ));
    }
    let pairs = kinds.iter().zip(names).map(|(kind, name)| format!("/{kind}/{name}"));
    Ok(format!("{scope}/providers/{namespace}{}", pairs.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> Result<Value, String> {
        let properties = json!({
            "template": {
                "parameters": { "env": { "type": "string", "defaultValue": "Prod" }, "sizes": { "type": "array", "defaultValue": [1, 2] } },
                "variables": { "name": "[concat('app-', toLower(parameters('env')))]", "loop": "[variables('loop')]" },
                "resources": [{ "type": "Microsoft.Web/sites", "apiVersion": "2023-01-01", "name": "[variables('name')]", "properties": { "host": "h" } }],
            },
        });
        Template::new(&properties, "rg", "westeurope", "d")?.evaluate(&json!(text))
    }

    #[test]
    fn the_common_functions_give_what_arm_gives() {
        for (text, value) in [
            ("[variables('name')]", json!("app-prod")),
            ("[parameters('sizes')[1]]", json!(2)),
            ("[resourceGroup().location]", json!("westeurope")),
            ("[format('{0}-{1}', 'a', 3)]", json!("a-3")),
            ("[if(equals(parameters('env'), 'Prod'), 'it''s', 'no')]", json!("it's")),
            ("[reference(variables('name')).host]", json!("h")),
            ("[[literal]", json!("[literal]")),
            (
                "[resourceId('Microsoft.Web/sites', 'x')]",
                json!(format!(
                    "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Web/sites/x"
                )),
            ),
        ] {
            assert_eq!(evaluate(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_or_endless_is_refused() {
        for text in ["[nope()]", "[parameters('x')]", "[variables('loop')]", "[concat('a']", "[]"] {
            assert!(evaluate(text).is_err(), "{text}");
        }
    }
}
