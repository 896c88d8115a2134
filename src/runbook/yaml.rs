//! Text -> [`Node`], by the events of serde-saphyr's parser.
//!
//! The tree is built from events and not through `Deserialize`, because events give every key its place and let several
//! things be wrong at once: duplicate keys, tags, anchors and aliases are all reported and reading goes on. Depth and
//! number of nodes are bounded; anything a runbook does not need from YAML is refused.

use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StrInput};

use super::node::{Key, Kind, Node, resolve_plain};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::source::{Mark, Sources};

/// Largest file that is read, in bytes.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most nodes in one file: ten thousand steps of a hundred values.
const MAX_NODES: usize = 1_000_000;

/// Reads a file that was added to `sources`. `None` when the tree could not be completed; every reason is in `out`.
pub(super) fn parse(file: u16, sources: &Sources, out: &mut Vec<Diagnostic>) -> Option<Node> {
    let text = sources.text(file);
    if refuse_control_characters(file, sources, out) {
        return None;
    }
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.emit_anchor_events = true;
    options.emit_unresolved_aliases = true;
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    Builder { file, sources, parser, out, nodes: 0 }.document().ok()
}

/// Reports the first control character. YAML forbids them; terminals and logs obey some of them.
fn refuse_control_characters(file: u16, sources: &Sources, out: &mut Vec<Diagnostic>) -> bool {
    let forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let text = sources.text(file);
    // ASCII is tested bytewise first: it is nearly all of every runbook.
    if text.is_ascii()
        && !text.bytes().any(|b| (b < 0x20 && !matches!(b, b'\n' | b'\r' | b'\t')) || b == 0x7f)
    {
        return false;
    }
    for (line, content) in (1..).zip(text.split('\n')) {
        let Some((column, found)) = (1..).zip(content.chars()).find(|&(_, c)| forbidden(c)) else {
            continue;
        };
        let code = u32::from(found);
        let mark = Mark { file, line, column, length: 1 };
        out.push(
            Diagnostic::error("RB010", format!("control character U+{code:04X}"))
                .at(sources.place(mark))
                .hint("remove it; in a quoted text it can be written as an escape if it is meant"),
        );
        return true;
    }
    false
}

struct Builder<'a> {
    file: u16,
    sources: &'a Sources,
    parser: Parser<'a, StrInput<'a>>,
    out: &'a mut Vec<Diagnostic>,
    nodes: usize,
}

/// The tree cannot be completed; why is already reported.
struct Broken;

impl<'a> Builder<'a> {
    fn document(mut self) -> Result<Node, Broken> {
        let start = Mark { file: self.file, line: 1, column: 1, length: 1 };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    self.report(
                        span,
                        "RB003",
                        "a second YAML document",
                        "keep one runbook per file",
                    );
                    return Err(Broken);
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span)?);
                }
                Event::StreamEnd => {
                    return Ok(root.unwrap_or(Node { mark: start, kind: Kind::Null }));
                }
                _ => return Err(Broken),
            }
        }
    }

    /// The next event; anchors and tags of nodes are reported by the way.
    fn next(&mut self) -> Result<(Event<'a>, Span), Broken> {
        loop {
            let Some(next) = self.parser.next_event() else { return Err(Broken) };
            match next {
                Ok((Event::Anchor(..), span)) => self.report(
                    span,
                    "RB003",
                    "YAML anchors are not read",
                    "write the value out, put it under `vars:`, or use a fragment",
                ),
                Ok(next) => return Ok(next),
                Err(error) => {
                    let at = *error.marker();
                    let mark = self.mark(at, at);
                    self.out.push(
                        Diagnostic::error("RB002", format!("not YAML: {}", error.info()))
                            .at(self.sources.place(mark))
                            .hint(syntax_hint(self.sources.line(self.file, mark.line))),
                    );
                    return Err(Broken);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Broken> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values");
            self.report(span, "RB011", &message, "split the wave into several runbooks");
            return Err(Broken);
        }
        let tagged = event.tag().is_some();
        if let Some(tag) = event.tag() {
            let message = format!("the YAML tag `{}` is not read", tag.original());
            let at = span.tag_span().unwrap_or(span);
            self.report(
                at,
                "RB003",
                &message,
                "remove it; quotes make a text, their absence a number",
            );
        }
        let mark = self.mark(span.start, span.end);
        let kind = match event {
            // Fits wherever it stands, so that one mistake is reported once.
            Event::Scalar(..) if tagged => Kind::Later(String::new()),
            Event::Scalar(text, ScalarStyle::Plain, ..) => resolve_plain(&text),
            Event::Scalar(text, ..) => {
                if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
                    let hint = "remove it; a runbook holds text only";
                    self.report(span, "RB010", "an escape makes a control character", hint);
                }
                Kind::Text(text.into_owned())
            }
            Event::SequenceStart(..) => self.list()?,
            Event::MappingStart(..) => self.mapping()?,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let hint = "write the value out, put it under `vars:`, or use a fragment";
                self.report(span, "RB003", "YAML aliases are not read", hint);
                // Fits wherever it stands, so that one mistake is reported once.
                Kind::Later(String::new())
            }
            _ => return Err(Broken),
        };
        Ok(Node { mark, kind })
    }

    fn list(&mut self) -> Result<Kind, Broken> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, span)?);
        }
    }

    fn mapping(&mut self) -> Result<Kind, Broken> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = Seen::default();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Kind::Map(entries));
            }
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            let Some(text) = self.key_text(&key) else { continue };
            if let Some(first) = seen.find(&entries, &text) {
                self.report_duplicate(&text, key.mark, entries[first].0.mark);
                continue;
            }
            entries.push((Key { text, mark: key.mark }, value));
            seen.added(&entries);
        }
    }

    /// A key as text. Reports keys that are none.
    fn key_text(&mut self, key: &Node) -> Option<String> {
        let text = match &key.kind {
            Kind::Text(text) if text == "<<" => {
                let hint = "write the keys out, or use a fragment";
                self.report_at(key.mark, "RB003", "YAML merge keys are not read", hint);
                return None;
            }
            Kind::Text(text) => text.clone(),
            Kind::Number(number) => number.to_string(),
            Kind::Bool(value) => value.to_string(),
            _ => {
                let hint = match self.sources.line(self.file, key.mark.line) {
                    Some(line) if line.contains("{{") => {
                        "put quotes around a value that begins with `{{`"
                    }
                    _ => "write `key: value`",
                };
                self.report_at(key.mark, "RB003", "a key must be text", hint);
                return None;
            }
        };
        Some(text)
    }

    fn report_duplicate(&mut self, text: &str, again: Mark, first: Mark) {
        let mut found = Diagnostic::error("RB007", format!("the key `{text}` stands twice"))
            .at(self.sources.place(again))
            .hint("keep one of the two");
        found.related.push((self.sources.place(first), "first written here".to_owned()));
        self.out.push(found);
    }

    fn report(&mut self, span: Span, code: &'static str, message: &str, hint: &str) {
        self.report_at(self.mark(span.start, span.end), code, message, hint);
    }

    fn report_at(&mut self, mark: Mark, code: &'static str, message: &str, hint: &str) {
        self.out.push(Diagnostic::error(code, message).at(self.sources.place(mark)).hint(hint));
    }

    fn mark(&self, start: Marker, end: Marker) -> Mark {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let same_line = start.line() == end.line() && end.col() > start.col();
        let length = if same_line { end.col() - start.col() } else { 1 };
        Mark {
            file: self.file,
            line: small(start.line().max(1)),
            column: small(start.col() + 1),
            length: small(length),
        }
    }
}

/// Finds duplicate keys: by looking through a short mapping, by a map in a long one.
#[derive(Default)]
struct Seen(Option<std::collections::HashMap<String, usize>>);

impl Seen {
    const SHORT: usize = 16;

    fn find(&self, entries: &[(Key, Node)], text: &str) -> Option<usize> {
        match &self.0 {
            Some(index) => index.get(text).copied(),
            None => entries.iter().position(|(key, _)| key.text == text),
        }
    }

    /// To be called after each new entry.
    fn added(&mut self, entries: &[(Key, Node)]) {
        let last = entries.len() - 1;
        match &mut self.0 {
            Some(index) => _ = index.insert(entries[last].0.text.clone(), last),
            None if entries.len() > Self::SHORT => {
                let names = entries.iter().map(|(key, _)| key.text.clone());
                self.0 = Some(names.zip(0..).collect());
            }
            None => {}
        }
    }
}

fn syntax_hint(line: Option<&str>) -> &'static str {
    match line {
        Some(line) if line.trim_start().starts_with('\t') || line.starts_with('\t') => {
            "indent with spaces; YAML does not take tabs"
        }
        Some(line) if line.contains("{{") => {
            "put quotes around a value that begins with `{{`, and around one with `: ` in it"
        }
        _ => "check the indentation and the quotes of this line and of the one above it",
    }
}
