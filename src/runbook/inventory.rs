//! Workloads from a CSV file: a row for each, a column for each key, the column `name` first of all.
//!
//! Rows become nodes, so that a wrong cell is reported like a wrong key of a runbook, with its line.

use super::node::{Key, Kind, Node};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::source::{Mark, Sources};

/// Reads the rows of a file that was added to `sources`: a mapping of workloads by name.
pub(super) fn rows(file: u16, sources: &Sources, out: &mut Vec<Diagnostic>) -> Option<Node> {
    let start = Mark { file, line: 1, column: 1, length: 1 };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(sources.text(file).as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => {
            out.push(not_csv(&error, start, sources));
            return None;
        }
    };
    let Some(name_at) = headers.iter().position(|header| header == "name") else {
        out.push(
            Diagnostic::error("RB022", "the inventory has no column `name`")
                .at(sources.place(start))
                .hint(
                    "the first line names the columns: name, strategy, criticality, data, owner, …",
                ),
        );
        return None;
    };
    let mut workloads: Vec<(Key, Node)> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                out.push(not_csv(&error, start, sources));
                continue;
            }
        };
        let line = record.position().map_or(1, |at| u32::try_from(at.line()).unwrap_or(u32::MAX));
        let mark = mark_of_line(file, line, sources);
        let name = record.get(name_at).unwrap_or_default();
        if let Some(first) = seen.insert(name.to_owned(), mark) {
            let mut twice =
                Diagnostic::error("RB022", format!("the workload `{name}` stands twice"))
                    .at(sources.place(mark))
                    .hint("keep one row for each workload");
            twice.related.push((sources.place(first), "first written here".to_owned()));
            out.push(twice);
            continue;
        }
        let entries = headers
            .iter()
            .zip(&record)
            .filter(|(header, cell)| *header != "name" && !cell.is_empty())
            .map(|(header, cell)| {
                let key = Key { text: header.to_owned(), mark };
                (key, Node { mark, kind: Kind::Text(cell.to_owned()) })
            })
            .collect();
        workloads
            .push((Key { text: name.to_owned(), mark }, Node { mark, kind: Kind::Map(entries) }));
    }
    Some(Node { mark: start, kind: Kind::Map(workloads) })
}

fn mark_of_line(file: u16, line: u32, sources: &Sources) -> Mark {
    let length = sources.line(file, line).map_or(1, |text| text.chars().count().max(1));
    Mark { file, line, column: 1, length: u32::try_from(length).unwrap_or(1) }
}

fn not_csv(error: &csv::Error, start: Mark, sources: &Sources) -> Diagnostic {
    let line = error.position().map_or(1, |at| u32::try_from(at.line()).unwrap_or(u32::MAX));
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this row has {len} cells, the first line {expected_len}")
        }
        _ => "this is not CSV".to_owned(),
    };
    Diagnostic::error("RB022", message)
        .at(sources.place(mark_of_line(start.file, line, sources)))
        .hint("put quotes around a cell that holds a comma")
}
