//! Azure's `OpenAPI` 2.0 files, as far as a check needs them: operations, parameters, answers and examples, with `$ref`
//! followed over file borders.
//!
//! Nothing is judged here, and nothing is written. A reference that leads nowhere ends the test: the files are whole.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

/// The files below one folder, each read once.
pub(crate) struct Files {
    root: PathBuf,
    read: RefCell<BTreeMap<String, Rc<Value>>>,
}

/// A value and the file in which its own references are to be read.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) file: String,
    /// Name of the definition, for what is reached by reference.
    pub(crate) name: Option<String>,
    pub(crate) value: Value,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) file: String,
    /// `RecordSets_Get`; unique within its file.
    pub(crate) id: String,
    pub(crate) method: String,
    /// `/subscriptions/{subscriptionId}/…`.
    pub(crate) template: String,
    /// The version that the file describes.
    pub(crate) version: String,
    pub(crate) parameters: Vec<Node>,
    /// By status, or `default`.
    pub(crate) responses: BTreeMap<String, Node>,
    pub(crate) examples: Vec<Example>,
}

/// One answer of an example.
#[derive(Debug, Clone, Default)]
pub(crate) struct Example {
    /// Its title and status, for messages.
    pub(crate) name: String,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// `Null`: none.
    pub(crate) body: Value,
    /// Names of the parameters that it answers.
    pub(crate) asked: Vec<String>,
}

impl Files {
    /// The files that `AZURE_REST_API_SPECS` names; none, said aloud, where it is not set.
    pub(crate) fn given() -> Option<Self> {
        let Some(root) = std::env::var_os("AZURE_REST_API_SPECS") else {
            println!(
                "SKIPPED: conformance to Azure's OpenAPI files: AZURE_REST_API_SPECS is not set"
            );
            return None;
        };
        Some(Self::at(Path::new(&root)))
    }

    /// The files below `root`, or below its folder `specification`.
    pub(crate) fn at(root: &Path) -> Self {
        let inner = root.join("specification");
        let root = if inner.is_dir() { inner } else { root.to_owned() };
        Self { root, read: RefCell::default() }
    }

    pub(crate) fn file(&self, name: &str) -> Rc<Value> {
        if let Some(read) = self.read.borrow().get(name) {
            return Rc::clone(read);
        }
        let path = self.root.join(name);
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // Some begin with a byte order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let value = serde_json::from_slice(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let value: Rc<Value> = Rc::new(value);
        self.read.borrow_mut().insert(name.to_owned(), Rc::clone(&value));
        value
    }

    /// What `reference`, written in `file`, means.
    pub(crate) fn follow(&self, file: &str, reference: &str) -> Node {
        let (relative, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if relative.is_empty() { file.to_owned() } else { beside(file, relative) };
        let value = self.file(&file).pointer(pointer).cloned();
        let value = value.unwrap_or_else(|| panic!("{file}: nothing at {pointer}"));
        Node { file, name: pointer.rsplit('/').next().map(str::to_owned), value }
    }

    /// The value itself, or what it refers to.
    pub(crate) fn settled(&self, file: &str, value: &Value) -> Node {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.follow(file, reference),
            None => Node { file: file.to_owned(), name: None, value: value.clone() },
        }
    }

    /// Every file that `file` refers to, however far away, and itself.
    pub(crate) fn reach(&self, file: &str) -> Vec<String> {
        let mut reached = vec![file.to_owned()];
        let mut next = 0;
        while let Some(file) = reached.get(next).cloned() {
            next += 1;
            let mut references = Vec::new();
            collect(&self.file(&file), &mut references);
            for reference in references {
                let relative = reference.split('#').next().unwrap_or_default();
                if !relative.is_empty() && !relative.contains("/examples/") {
                    let other = beside(&file, relative);
                    if !reached.contains(&other) {
                        reached.push(other);
                    }
                }
            }
        }
        reached
    }

    /// The operation with that id.
    pub(crate) fn operation(&self, file: &str, id: &str) -> Operation {
        let document = self.file(file);
        let paths = ["paths", "x-ms-paths"].into_iter().filter_map(|key| document[key].as_object());
        for (template, item) in paths.flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if operation["operationId"] == id {
                    return self.read_operation(file, (template, method), item, operation);
                }
            }
        }
        panic!("{file} has no operation {id}");
    }

    fn read_operation(
        &self,
        file: &str,
        (template, method): (&str, &str),
        item: &Value,
        operation: &Value,
    ) -> Operation {
        let lists = [&item["parameters"], &operation["parameters"]];
        let parameters = lists.into_iter().filter_map(Value::as_array).flatten();
        let responses = operation["responses"].as_object().into_iter().flatten();
        let examples = operation["x-ms-examples"].as_object().into_iter().flatten();
        Operation {
            file: file.to_owned(),
            id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
            method: method.to_ascii_uppercase(),
            template: template.to_owned(),
            version: self.file(file)["info"]["version"].as_str().unwrap_or_default().to_owned(),
            parameters: parameters.map(|it| self.settled(file, it)).collect(),
            responses: responses
                .map(|(status, it)| (status.clone(), self.settled(file, it)))
                .collect(),
            examples: examples
                .flat_map(|(title, it)| Example::all(title, &self.settled(file, it).value))
                .collect(),
        }
    }
}

impl Example {
    fn all(title: &str, file: &Value) -> Vec<Self> {
        let asked = file["parameters"].as_object().into_iter().flatten();
        let asked: Vec<_> = asked.map(|(name, _)| name.clone()).collect();
        let answers = file["responses"].as_object().into_iter().flatten();
        let answers = answers.filter_map(|(status, answer)| {
            let headers = answer["headers"].as_object().into_iter().flatten();
            let text =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some(Self {
                name: format!("{title}, {status}"),
                status: status.parse().ok()?,
                headers: headers.map(|(k, v)| (k.to_ascii_lowercase(), text(v))).collect(),
                body: answer["body"].clone(),
                asked: asked.clone(),
            })
        });
        answers.collect()
    }
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| key == "$ref") {
                    Some(reference) => into.push(reference.to_owned()),
                    None => collect(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        _ => {}
    }
}

/// The name of the file that `file` calls `relative`.
fn beside(file: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for component in Path::new(relative).components() {
        match component {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(part) => parts.push(part.to_str().expect("a plain name")),
            _ => {}
        }
    }
    parts.join("/")
}
