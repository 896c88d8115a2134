//! Hostile input on the stable toolchain: the entries of the fuzz targets over the committed corpora, what else of the
//! project is input of that kind, and seeded mutations of all of it.
//!
//! Time is processor time of the one thread, memory is the growth of the process's resident peak while one input is
//! read. The program is compiled without optimisation here, hence the margin on time; the fuzz targets have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab::cases;

#[path = "../fuzz/entry.rs"]
pub(crate) mod entry;

use entry::{Cost, GROWTH_KB, bounded, withstand};

/// How much slower than a fuzz target this build may be.
const MARGIN: u32 = 5;
/// Every mutation follows from it.
const SEED: u64 = 0x6d69_6772_6174_6531;

/// Files that are input of this target: `tests/fuzz/corpus`, and what `tests/fuzz/run` adds from elsewhere.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("tests/fuzz/corpus").join(target);
    let elsewhere: &[&str] = match target {
        "runbook" => &["tests/bad-runbooks", "examples/steps", "runbooks"],
        _ => &[],
    };
    let folders = std::iter::once(own).chain(elsewhere.iter().map(|dir| root.join(dir)));
    let mut files: Vec<_> = folders
        .flat_map(|dir| fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a readable file"));
    files.into_iter().map(read).collect()
}

/// xorshift64*: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(drawn).unwrap_or(usize::MAX) % bound.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }

    /// A few small wounds; now and then a piece of another input.
    fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = b"\0\n \"'{}[]:,-0*&%\\\xff"[self.below(18)],
                2 => drop(bytes.drain(self.range(bytes.len()))),
                3 => bytes.truncate(at),
                4 => {
                    let piece = bytes[self.range(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                5 => {
                    let piece = other[self.range(other.len())].iter().copied();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let digits = ["-1", "18446744073709551616", "1e999", "0"][self.below(4)];
                    bytes.splice(at..at, digits.bytes());
                }
            }
            bytes.truncate(1 << 16);
        }
        bytes
    }
}

/// Says which input it was when the entry panics.
struct Shown<'a> {
    what: String,
    bytes: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}:\n{}", self.what, self.bytes.escape_ascii());
        }
    }
}

fn withstands(target: &str) {
    let inputs = inputs(target);
    let mut worst = Cost::default();
    let mut note = |cost: Cost| {
        worst.time = worst.time.max(cost.time);
        worst.growth_kb = worst.growth_kb.max(cost.growth_kb);
    };
    for (path, bytes) in &inputs {
        let _shown = Shown { what: path.display().to_string(), bytes };
        note(withstand(target, bytes, MARGIN));
    }
    let mutations = cases(600, 200_000);
    let mut chance = Chance(SEED);
    for nth in 0..mutations {
        let (path, bytes) = &inputs[chance.below(inputs.len())];
        let other = &inputs[chance.below(inputs.len())].1;
        let bytes = chance.mutate(bytes, other);
        let what = format!("seed {SEED:#x}, mutation {nth} of {}", path.display());
        let _shown = Shown { what, bytes: &bytes };
        note(withstand(target, &bytes, MARGIN));
    }
    println!(
        "hostile {target}: {} inputs, {mutations} mutations of seed {SEED:#x}; worst {} ms, {} KB",
        inputs.len(),
        worst.time.as_millis(),
        worst.growth_kb
    );
}

#[test]
fn runbooks_do_no_harm() {
    withstands("runbook");
}

#[test]
fn expressions_do_no_harm() {
    withstands("expression");
}

#[test]
fn journals_do_no_harm() {
    withstands("journal");
}

#[test]
fn answers_of_azure_do_no_harm() {
    withstands("arm");
}

#[test]
fn scenarios_do_no_harm() {
    withstands("scenario");
}

#[test]
fn answers_of_name_servers_do_no_harm() {
    withstands("dns");
}

/// A guard that guards nothing would pass everything above.
#[test]
fn a_blow_up_and_a_hang_would_be_noticed() {
    let blow_up = |_: &[u8]| drop(std::hint::black_box(vec![1_u8; 300 << 20]));
    assert!(bounded(blow_up, b"").growth_kb > GROWTH_KB, "300 MB were not seen");
    let spin = |_: &[u8]| {
        let mut sum = 0_u64;
        for n in 0..20_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(n));
        }
    };
    assert!(bounded(spin, b"").time > Duration::from_millis(1), "the time was not measured");
}
