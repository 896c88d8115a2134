//! The files that people wrote, kept as text so that a diagnostic can show the lines it speaks of.

use super::Place;

/// A stretch of one line of a file, small enough to sit on every node of a large runbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Number of the file in its [`Sources`].
    pub file: u16,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters; at least 1.
    pub length: u32,
}

/// One file.
#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: String,
    /// Byte offset of the first character of each line.
    starts: Vec<usize>,
}

impl Source {
    fn line(&self, line: u32) -> Option<&str> {
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        let from = *self.starts.get(at)?;
        let to = self.starts.get(at + 1).map_or(self.text.len(), |&next| next - 1);
        self.text.get(from..to).map(|text| text.trim_end_matches('\r'))
    }
}

/// Every file of one runbook: itself, its fragments, its inventory.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Keeps a file and gives it its number.
    ///
    /// # Panics
    /// With more than 65,535 files; includes are limited long before that.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u16 {
        let text = text.into();
        let starts = std::iter::once(0)
            .chain(
                text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1),
            )
            .collect();
        self.0.push(Source { name: name.into(), text, starts });
        u16::try_from(self.0.len() - 1).expect("includes are limited")
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Names of the files, the runbook first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|source| source.name.as_str())
    }

    /// The name of a file.
    pub fn name(&self, file: u16) -> &str {
        &self.0[usize::from(file)].name
    }

    /// The whole text of a file.
    pub fn text(&self, file: u16) -> &str {
        &self.0[usize::from(file)].text
    }

    /// A mark as people read it.
    pub fn place(&self, mark: Mark) -> Place {
        Place {
            file: self.name(mark.file).to_owned(),
            line: mark.line,
            column: mark.column,
            length: mark.length,
        }
    }

    /// The whole text of the file of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|source| source.name == name).map(|source| source.text.as_str())
    }

    /// A line of a file, from 1, without its end.
    pub fn line(&self, file: u16, line: u32) -> Option<&str> {
        self.0.get(usize::from(file))?.line(line)
    }

    /// The same by the file's name.
    pub fn line_of(&self, name: &str, line: u32) -> Option<&str> {
        self.0.iter().find(|source| source.name == name)?.line(line)
    }

    /// The text under a mark.
    pub fn slice(&self, mark: Mark) -> Option<&str> {
        let line = self.line(mark.file, mark.line)?;
        let from = byte_of(line, mark.column.saturating_sub(1))?;
        let to = byte_of(&line[from..], mark.length).map_or(line.len(), |length| from + length);
        line.get(from..to)
    }
}

/// Byte offset of the `count`th character; the line's length counts as one past its last.
fn byte_of(line: &str, count: u32) -> Option<usize> {
    let count = usize::try_from(count).ok()?;
    line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_slices() {
        let mut sources = Sources::default();
        let file = sources.add("a.yaml", "one: ä1\r\ntwo: x\n\nlast");
        assert_eq!(sources.line(file, 1), Some("one: ä1"));
        assert_eq!(sources.line(file, 3), Some(""));
        assert_eq!(sources.line(file, 4), Some("last"));
        assert_eq!(sources.line(file, 5), None);
        assert_eq!(sources.line(file, 0), None);
        let mark = Mark { file, line: 1, column: 6, length: 2 };
        assert_eq!(sources.slice(mark), Some("ä1"));
        assert_eq!(sources.slice(Mark { length: 99, ..mark }), Some("ä1"));
        assert_eq!(sources.slice(Mark { column: 99, ..mark }), None);
    }
}
