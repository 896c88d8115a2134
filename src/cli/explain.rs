//! `migrate explain [NAME]`: the page of a code, a rule or a step kind; without a name the list of them.

use std::fmt::Write as _;

use super::{Exit, Global, narrate, print};
use crate::diagnostic::Severity;
use crate::diagnostic::codes::{PAGES, page};
use crate::plan::rules::{RULES, Rule};
use crate::plan::{Class, KindSpec};
use crate::run::{Repeat, Undo};
use crate::runbook::words;
use crate::steps::CATALOGUE;

/// Arguments of `migrate explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A code (`RB004`, `MIG0301`), a rule (`CAF008`) or a step kind (`dns.cutover`).
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

impl Args {
    /// Prints the page.
    pub fn run(self, _: &Global) -> anyhow::Result<Exit> {
        let Some(name) = self.name else {
            print(&contents())?;
            return Ok(Exit::Done);
        };
        let rule = RULES.iter().find(|rule| rule.code.eq_ignore_ascii_case(&name));
        let text = page(&name)
            .map(str::to_owned)
            .or_else(|| rule.map(|rule| rule_page(rule)))
            .or_else(|| CATALOGUE.get(&name).map(kind_page));
        if let Some(text) = text {
            print(&text)?;
            return Ok(Exit::Done);
        }
        let codes = PAGES.iter().map(|&(code, _)| code);
        let rules = RULES.iter().map(|rule| rule.code);
        let kinds = CATALOGUE.kinds.iter().map(|kind| kind.name);
        let near = words::closest(&name, codes.chain(rules).chain(kinds));
        let hint = near.map_or_else(
            || "`migrate explain` lists all pages".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        narrate(&format!("error: there is no page `{name}`\n  = help: {hint}\n"));
        Ok(Exit::Usage)
    }
}

fn contents() -> String {
    let mut text = "Step kinds\n".to_owned();
    for kind in CATALOGUE.kinds {
        let _ = writeln!(text, "  {:<18} {}", kind.name, kind.summary);
    }
    text.push_str("\nRules\n");
    for rule in RULES {
        let _ = writeln!(text, "  {:<18} {}", rule.code, rule.title);
    }
    text.push_str("\nCodes\n");
    for (code, page) in PAGES {
        let title = page.lines().next().unwrap_or_default();
        let title = title.split_once(": ").map_or(title, |(_, title)| title);
        let _ = writeln!(text, "  {code:<18} {title}");
    }
    text
}

fn rule_page(rule: &Rule) -> String {
    let Rule { code, title, what, why, example, .. } = rule;
    let effect = match rule.severity {
        Severity::Error => "An error: a runbook that breaks it does not run.",
        Severity::Warning => "A warning.",
    };
    let example = indented(example);
    format!(
        "# {code}: {title}\n\n{what} {effect}\n\n**Why.** {why}\n\n**Example that breaks it.**\n\n{example}\n\
         **To break it on purpose**, write `allow: [{code}: reason]`; the reason shows in the report.\n"
    )
}

fn kind_page(kind: &'static KindSpec) -> String {
    let class = match kind.class {
        Class::Check => "a check: it only reads",
        Class::Action => "an action: it changes something",
    };
    let outputs = match kind.outputs {
        [] if kind.open_outputs => "whatever it yields".to_owned(),
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let classes = match kind.class {
        Class::Check => String::new(),
        Class::Action => {
            format!("- repeat: {}\n- undo: {}\n", repeat(kind.repeat), undo(kind.undo))
        }
    };
    let parameters = parameters((kind.schema)().as_value());
    let example = indented(kind.example);
    format!(
        "# {}: {}\n\n- {class}\n{classes}- outputs: {outputs}\n\n{}\n\n## Parameters\n\n{parameters}\n## Example\n\n{example}",
        kind.name,
        kind.summary,
        kind.docs.trim(),
    )
}

/// One line for each key of `with`.
fn parameters(schema: &serde_json::Value) -> String {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let keys = schema["properties"].as_object().into_iter().flatten();
    let lines: Vec<String> = keys
        .map(|(key, schema)| {
            let needed = if required.iter().any(|it| it == key) { " (required)" } else { "" };
            let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
            format!("- `{key}`{needed}: {text}\n")
        })
        .collect();
    if lines.is_empty() { "See `migrate schema`.\n".to_owned() } else { lines.concat() }
}

fn indented(yaml: &str) -> String {
    yaml.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect()
}

/// What happens on a second time, in words.
pub(super) const fn repeat(class: Repeat) -> &'static str {
    match class {
        Repeat::Guarded => "guarded: exactly once",
        Repeat::Repeatable => "repeatable: the same again is harmless",
        Repeat::Ask => "ask: a person decides when the outcome is unknown",
    }
}

/// How it is taken back, in words.
pub(super) const fn undo(class: Undo) -> &'static str {
    match class {
        Undo::Restores => "restores the previous state exactly",
        Undo::LeavesInPlace => "leaves in place what harms nothing",
        Undo::Irreversible => "cannot be taken back",
    }
}
