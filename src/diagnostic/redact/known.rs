//! Every shape of every known secret, and where they stand in a text.
//!
//! Each place of the text is looked at once: a table of the pairs of bytes with which some shape begins rules out nearly
//! all of them.

use std::ops::Range;

use super::pattern::{Shape, shapes};
use super::spelling::{Unit, is_special, units};

/// Escapes take up to six bytes for one: `\u00e9`, and twice as many backslashes when escaped twice.
const LONGEST_SPELLING: usize = 7;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    shapes: Vec<Shape>,
    /// Shapes by their first byte.
    by_first: Vec<Vec<usize>>,
    /// A bit for each pair of bytes with which a shape begins.
    pairs: Vec<u64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { shapes: Vec::new(), by_first: vec![Vec::new(); 256], pairs: vec![0; 1024] }
    }
}

fn bit([first, second]: [u8; 2]) -> (usize, u64) {
    let pair = usize::from(first) << 8 | usize::from(second);
    (pair / 64, 1 << (pair % 64))
}

impl Known {
    /// Knows this text from now on.
    pub(super) fn add(&mut self, text: &str) {
        if self.shapes.iter().any(|shape| shape.is_plain(text)) {
            return;
        }
        for shape in shapes(text) {
            let index = self.shapes.len();
            for pair in shape.beginnings() {
                let (word, mask) = bit(pair);
                self.pairs[word] |= mask;
                let same_first = &mut self.by_first[usize::from(pair[0])];
                if same_first.last() != Some(&index) {
                    same_first.push(index);
                }
            }
            self.shapes.push(shape);
        }
    }

    /// See [`Redactor::reach`](super::Redactor::reach).
    pub(super) fn reach(&self) -> usize {
        self.shapes.iter().map(Shape::len).max().unwrap_or(0) * LONGEST_SPELLING
    }

    /// The parts of `text` that must go, in order and apart from each other.
    pub(super) fn found(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut hidden: Vec<Range<usize>> = Vec::new();
        if self.shapes.is_empty() {
            return hidden;
        }
        for at in 0..text.len() {
            let Some(hit) = self.longest(text, at) else { continue };
            match hidden.last_mut() {
                // Two secrets may overlap, and neither may leave its other half.
                Some(last) if hit.start < last.end => last.end = last.end.max(hit.end),
                _ => hidden.push(hit),
            }
        }
        hidden
    }

    fn longest(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        let first = text[at];
        if is_special(first) {
            let hits =
                units(&text[at..]).into_iter().filter_map(|unit| self.beginning(text, at, &unit));
            return hits.max_by_key(|hit| hit.end);
        }
        let second = *text.get(at + 1)?;
        let (word, mask) = bit([first, second]);
        let may =
            self.pairs[word] & mask != 0 || is_special(second) || second.is_ascii_whitespace();
        if may { self.beginning(text, at, &Unit::plain(first)) } else { None }
    }

    fn beginning(&self, text: &[u8], at: usize, unit: &Unit) -> Option<Range<usize>> {
        let candidates = &self.by_first[usize::from(unit.bytes()[0])];
        let hits = candidates.iter().filter_map(|&index| self.shapes[index].found(text, at, unit));
        hits.max_by_key(|hit| hit.end)
    }
}
