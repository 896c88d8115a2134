//! One request with its answer, held against the operation that describes it.

use std::rc::Rc;

use migrate::sandbox::exchanges::Exchange;
use serde_json::{Value, json};

use super::openapi::{Node, Operation};
use super::schema::{Schemas, Side, faults};

/// Headers that ARM takes with every request.
const ANY_REQUEST: [&str; 10] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-ms-client-request-id",
    "x-ms-return-client-request-id",
];

/// `GET /path?api-version=… -> 200`, for messages.
pub(crate) fn line(of: &Exchange) -> String {
    let query: Vec<_> = of.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let status = of.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    format!("{} {}?{} -> {status}", of.method, of.path, query.join("&"))
}

/// The api-version that was asked for.
pub(crate) fn api_version(of: &Exchange) -> Option<&str> {
    let found = of.query.iter().find(|(key, _)| key.eq_ignore_ascii_case("api-version"));
    found.map(|(_, value)| value.as_str())
}

/// An exchange and the operation that it claims to be.
pub(crate) struct Claim<'a> {
    pub(crate) schemas: &'a Schemas<'a>,
    pub(crate) operation: &'a Operation,
    pub(crate) exchange: &'a Exchange,
}

impl Claim<'_> {
    /// What is wrong with the request.
    pub(crate) fn request_faults(&self) -> Vec<String> {
        let Self { schemas, operation, exchange } = *self;
        let Some(segments) = operation.matches(&exchange.path) else {
            return vec![format!("{} is not {}", exchange.path, operation.template)];
        };
        let mut wrong = Vec::new();
        if exchange.method != operation.method {
            wrong.push(format!("the method is {}, not {}", exchange.method, operation.method));
        }
        for (name, value) in segments {
            match operation.parameter("path", &name) {
                Some(parameter) => wrong.extend(parameter_faults(schemas, parameter, &value)),
                None => wrong.push(format!("{{{name}}} is declared nowhere")),
            }
        }
        self.query_faults(&mut wrong);
        let own = |name: &&String| !ANY_REQUEST.contains(&name.as_str());
        for name in exchange.headers.keys().filter(own) {
            if operation.parameter("header", name).is_none() {
                wrong.push(format!("header {name} is not known there"));
            }
        }
        match operation.parameters.iter().find(|it| it.value["in"] == "body") {
            None if exchange.body.is_null() => {}
            None => wrong.push("a body where there is none".to_owned()),
            Some(it) if exchange.body.is_null() => {
                if it.value["required"] == true {
                    wrong.push("the body is missing".to_owned());
                }
            }
            Some(parameter) => {
                let validator = schemas.validator(Side::Request, &inner(parameter));
                wrong.extend(faults(&validator, &exchange.body));
            }
        }
        wrong
    }

    fn query_faults(&self, wrong: &mut Vec<String>) {
        let Self { schemas, operation, exchange } = *self;
        for (name, value) in &exchange.query {
            match operation.parameter("query", name) {
                Some(parameter) => wrong.extend(parameter_faults(schemas, parameter, value)),
                None => wrong.push(format!("?{name}= is not known there")),
            }
        }
        let required = operation.parameters.iter().map(|it| &it.value);
        for parameter in required.filter(|it| it["in"] == "query" && it["required"] == true) {
            let name = parameter["name"].as_str().unwrap_or_default();
            if !exchange.query.iter().any(|(key, _)| key.eq_ignore_ascii_case(name)) {
                wrong.push(format!("?{name}= is missing"));
            }
        }
    }

    /// What is wrong with the answer.
    pub(crate) fn answer_faults(&self) -> Vec<String> {
        let Self { schemas, operation, exchange } = *self;
        let Some(status) = exchange.status else { return Vec::new() };
        let declared = operation.responses.get(&status.to_string());
        let error = operation.responses.get("default").filter(|_| status >= 400);
        let Some(response) = declared.or(error) else {
            // Some providers declare no error; ARM's own form is what stands in their place.
            if status >= 400 {
                return faults(&any_error(schemas), &exchange.answer);
            }
            let known: Vec<_> = operation.responses.keys().cloned().collect();
            return vec![format!("status {status} is none of {}", known.join(", "))];
        };
        let schema = inner(response);
        match (schema.value.is_null(), exchange.answer.is_null()) {
            (true, true) => Vec::new(),
            (true, false) => vec!["a body where there is none".to_owned()],
            // HEAD has no body, whatever is declared.
            (false, true) if exchange.method == "HEAD" => Vec::new(),
            (false, true) => vec!["the body is missing".to_owned()],
            (false, false) => faults(&schemas.validator(Side::Answer, &schema), &exchange.answer),
        }
    }
}

/// ARM's common error.
fn any_error(schemas: &Schemas<'_>) -> Rc<jsonschema::Validator> {
    let file = "common-types/resource-management/v3/types.json";
    schemas.validator(Side::Answer, &schemas.files.follow(file, "#/definitions/ErrorResponse"))
}

/// The schema of a body parameter or of an answer.
fn inner(of: &Node) -> Node {
    Node { file: of.file.clone(), name: None, value: of.value["schema"].clone() }
}

fn parameter_faults(schemas: &Schemas<'_>, parameter: &Node, text: &str) -> Vec<String> {
    let value = match parameter.value["type"].as_str() {
        Some("integer" | "number" | "boolean") => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(text),
    };
    // The words of a path compare without case, also those of an enumeration.
    let words = parameter.value["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if parameter.value["in"] == "path" && words.into_iter().any(|it| it.eq_ignore_ascii_case(text))
    {
        return Vec::new();
    }
    let name = &parameter.value["name"];
    let wrong = faults(&schemas.validator(Side::Request, parameter), &value);
    wrong.into_iter().map(|it| format!("{name} = {value}{it}")).collect()
}

impl Operation {
    /// The parameter of that name; header and query names compare without case.
    fn parameter(&self, place: &str, name: &str) -> Option<&Node> {
        self.parameters.iter().find(|it| {
            let own = it.value["name"].as_str().unwrap_or_default();
            it.value["in"] == place && own.eq_ignore_ascii_case(name)
        })
    }

    /// The values of the template's parameters, if the path is one of this operation; words compare without case. A
    /// parameter that may hold slashes takes as many segments as fit.
    pub(crate) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let template: Vec<&str> = self.template.trim_matches('/').split('/').collect();
        let path: Vec<&str> = path.trim_matches('/').split('/').collect();
        self.fit(&template, &path)
    }

    fn fit(&self, template: &[&str], path: &[&str]) -> Option<Vec<(String, String)>> {
        let Some((first, rest)) = template.split_first() else {
            return path.is_empty().then(Vec::new);
        };
        let Some(name) = first.strip_prefix('{').and_then(|it| it.strip_suffix('}')) else {
            let (own, after) = path.split_first()?;
            return own.eq_ignore_ascii_case(first).then(|| self.fit(rest, after))?;
        };
        // A path that begins with a parameter begins with a scope.
        let scope = self.template.trim_matches('/').starts_with(*first);
        let parameter = self.parameter("path", name);
        let long = scope || parameter.is_some_and(|it| it.value["x-ms-skip-url-encoding"] == true);
        let most = if long { path.len() } else { path.len().min(1) };
        (1..=most).find_map(|taken| {
            let mut values = self.fit(rest, &path[taken..])?;
            values.insert(0, (name.to_owned(), path[..taken].join("/")));
            Some(values)
        })
    }

    /// How many of the template's segments are words: the more, the closer it describes a path.
    pub(crate) fn words(&self) -> usize {
        self.template.split('/').filter(|it| !it.is_empty() && !it.starts_with('{')).count()
    }
}
