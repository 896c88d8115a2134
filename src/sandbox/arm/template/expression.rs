//! The template language: function calls, literals, `.property` and `[index]`.

use serde_json::{Value, json};

use super::super::super::scenario::SUBSCRIPTION;
use super::super::guid;
use super::{Template, resource_id};

/// Evaluates the text between the brackets.
pub(super) fn evaluate(template: &Template<'_>, text: &str) -> Result<Value, String> {
    let mut reader = Reader { template, text, rest: text };
    let value = reader.expression()?;
    match reader.rest.trim_start() {
        "" => Ok(value),
        rest => Err(reader.wrong(&format!("'{rest}' is left over"))),
    }
}

struct Reader<'a> {
    template: &'a Template<'a>,
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, why: &str) -> String {
        format!("Unable to process template language expression '{}': {why}.", self.text)
    }

    fn take(&mut self, mark: char) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(mark);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    fn expression(&mut self) -> Result<Value, String> {
        let mut value = self.primary()?;
        loop {
            let key = if self.take('.') {
                json!(self.word()?)
            } else if self.take('[') {
                let key = self.expression()?;
                if !self.take(']') {
                    return Err(self.wrong("']' is missing"));
                }
                key
            } else {
                return Ok(value);
            };
            let found = match &key {
                Value::String(name) => value.get(name.as_str()),
                Value::Number(number) => {
                    let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                    index.and_then(|index| value.get(index))
                }
                _ => None,
            };
            value = found.cloned().ok_or_else(|| self.wrong(&format!("there is no {key}")))?;
        }
    }

    fn primary(&mut self) -> Result<Value, String> {
        if self.take('\'') {
            return self.string();
        }
        let rest = self.rest;
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        if digits > 0 {
            self.rest = &rest[digits..];
            let number: i64 = rest[..digits].parse().map_err(|_| self.wrong("not a number"))?;
            return Ok(json!(number));
        }
        let name = self.word()?;
        if !self.take('(') {
            return Err(self.wrong(&format!("'(' is missing after '{name}'")));
        }
        let mut arguments = Vec::new();
        while !self.take(')') {
            if !arguments.is_empty() && !self.take(',') {
                return Err(self.wrong("',' or ')' is missing"));
            }
            arguments.push(self.expression()?);
        }
        self.call(&name, &arguments)
    }

    fn word(&mut self) -> Result<String, String> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a name is missing"));
        }
        self.rest = &rest[end..];
        Ok(rest[..end].to_owned())
    }

    /// After the opening quote; a doubled quote is one.
    fn string(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        loop {
            let Some(end) = self.rest.find('\'') else {
                return Err(self.wrong("a string does not end"));
            };
            text.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            match self.rest.strip_prefix('\'') {
                Some(rest) => self.rest = rest,
                None => return Ok(json!(text)),
            }
            text.push('\'');
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let template = self.template;
        let lower = name.to_ascii_lowercase();
        let value = match (lower.as_str(), arguments) {
            ("parameters", [Value::String(name)]) => template.parameter(name)?,
            ("variables", [Value::String(name)]) => template.variable(name)?,
            ("reference", [Value::String(of), ..]) => template.reference(of)?,
            ("resourcegroup", []) => json!({
                "id": template.group_id(), "name": template.group, "location": template.location,
            }),
            ("subscription", []) => json!({
                "id": format!("/subscriptions/{SUBSCRIPTION}"), "subscriptionId": SUBSCRIPTION,
                "tenantId": super::super::super::scenario::TENANT,
            }),
            ("deployment", []) => json!({ "name": template.deployment }),
            ("concat", [Value::Array(_), ..]) => {
                json!(
                    arguments
                        .iter()
                        .flat_map(|it| it.as_array().into_iter().flatten())
                        .collect::<Vec<_>>()
                )
            }
            ("concat", _) => json!(arguments.iter().map(text).collect::<String>()),
            ("format", [Value::String(form), values @ ..]) => {
                let numbered = values.iter().enumerate();
                json!(numbered.fold(form.clone(), |form, (n, value)| {
                    form.replace(&format!("{{{n}}}"), &text(value))
                }))
            }
            ("tolower", [Value::String(it)]) => json!(it.to_lowercase()),
            ("toupper", [Value::String(it)]) => json!(it.to_uppercase()),
            ("string", [it]) => json!(text(it)),
            ("length", [Value::Array(items)]) => json!(items.len()),
            ("length", [Value::String(it)]) => json!(it.chars().count()),
            ("equals", [left, right]) => json!(left == right),
            ("not", [Value::Bool(it)]) => json!(!it),
            ("true", []) => json!(true),
            ("false", []) => json!(false),
            ("if", [Value::Bool(condition), yes, no]) => {
                if *condition {
                    yes.clone()
                } else {
                    no.clone()
                }
            }
            ("uniquestring", [_, ..]) => json!(guid(&list(arguments)).replace('-', "")[..13]),
            ("guid", [_, ..]) => json!(guid(&list(arguments))),
            ("resourceid", [_, ..]) => json!(self.resource_id(arguments)?),
            _ => {
                let known = format!(
                    "the sandbox does not know '{name}' with {} arguments",
                    arguments.len()
                );
                return Err(self.wrong(&known));
            }
        };
        Ok(value)
    }

    /// `[subscription,] [group,] type, names…`
    fn resource_id(&self, arguments: &[Value]) -> Result<String, String> {
        let texts: Vec<String> = arguments.iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let kind = texts.iter().position(|it| it.contains('/'));
        let kind = kind.ok_or_else(|| self.wrong("a resource type is missing"))?;
        let scope = match texts[..kind] {
            [] => self.template.group_id(),
            [group] => format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"),
            [subscription, group] => {
                format!("/subscriptions/{subscription}/resourceGroups/{group}")
            }
            _ => return Err(self.wrong("too much stands before the resource type")),
        };
        resource_id(&scope, texts[kind], &texts[kind + 1..])
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(values: &[Value]) -> String {
    values.iter().map(text).collect::<Vec<_>>().join("/")
}
