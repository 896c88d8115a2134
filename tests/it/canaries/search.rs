//! Looking for every canary in every encoding, wherever bytes were left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aho_corasick::AhoCorasick;

use super::encodings::ENCODINGS;
use super::values::Canary;

/// Shorter texts stand anywhere by chance.
const SHORTEST: usize = 7;

/// What was found: a place, a canary, an encoding.
pub(crate) type Found = BTreeSet<(String, &'static str, &'static str)>;

/// See the module. Counts what it has seen.
pub(crate) struct Search {
    needles: AhoCorasick,
    /// Of each needle: the canary's shape and the encoding's name.
    meant: Vec<(&'static str, &'static str)>,
    pub(crate) found: Found,
    pub(crate) outputs: usize,
    pub(crate) bytes: usize,
}

impl Search {
    /// For these values, in every encoding.
    pub(crate) fn new(canaries: &[Canary]) -> Self {
        let (mut texts, mut meant) = (Vec::new(), Vec::new());
        for canary in canaries {
            for encoding in &ENCODINGS {
                let all: BTreeSet<String> = (encoding.of)(&canary.value).into_iter().collect();
                for text in all.into_iter().filter(|text| text.len() >= SHORTEST) {
                    texts.push(text);
                    meant.push((canary.shape, encoding.name));
                }
            }
        }
        let needles = AhoCorasick::new(&texts).expect("few and short");
        Self { needles, meant, found: Found::new(), outputs: 0, bytes: 0 }
    }

    /// Looks at what some place holds.
    pub(crate) fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.outputs += 1;
        self.bytes += bytes.len();
        for bytes in [bytes, &squeezed(bytes)] {
            for hit in self.needles.find_overlapping_iter(bytes) {
                let (shape, encoding) = self.meant[hit.pattern().as_usize()];
                self.found.insert((place.to_owned(), shape, encoding));
            }
        }
    }

    /// Looks at every file below a folder but those of a sandbox's world, and at their names.
    pub(crate) fn folder(&mut self, place: &str, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let place = format!("{place}/{}", entry.file_name().to_string_lossy());
            self.bytes("a file's name", entry.file_name().as_encoded_bytes());
            if path.is_dir() && !path.ends_with("sandbox") {
                self.folder(&place, &path);
            } else if path.is_file() {
                self.bytes(&place, &fs::read(&path).expect("a file"));
            }
        }
    }
}

/// Without line breaks and blanks, be they plain or escaped: what an encoder has wrapped is whole again.
fn squeezed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' && tail.first().is_some_and(|c| b"nrt".contains(c)) {
            rest = &tail[1..];
            continue;
        }
        if !first.is_ascii_whitespace() {
            out.push(first);
        }
        rest = tail;
    }
    out
}
