//! Damage of every kind to a journal of 64 KiB that holds every kind of fact, read by the code that reads every journal.
//!
//! What is promised: damage is noticed, and named by the record it is in and the byte where the line of that record
//! starts; nothing but a strict prefix of a record, or zeros, after the last whole record passes for a torn tail; a journal
//! that lost whole records at its end is told only by a head kept elsewhere. The short form tries a seeded sample,
//! `tests/soak flips` everything.

#![expect(clippy::print_stdout, reason = "counts")]

mod long;

use std::fs;
use std::path::Path;

use self::long::Long;
use super::read::Pass;
use super::{FILE, JournalError, Kept, compare};

const SEED: u64 = 0x6d69_6772_6174_6521;

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// So many whole records, nothing after them.
    Whole(usize),
    /// So many whole records, then a torn tail of so many bytes.
    Torn(usize, usize),
    /// The record, and where it starts.
    Damaged(usize, usize),
    /// Refused for another reason, which no damage should come to.
    Other(String),
}

/// Whether everything is to be tried, and how many random cases.
fn cases(short: usize, long: usize) -> (bool, usize) {
    match std::env::var("MIGRATE_SOAK") {
        Err(_) => (false, short),
        Ok(text) => (true, text.parse().unwrap_or(long)),
    }
}

/// A seeded generator (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }
}

fn found(error: JournalError) -> Found {
    let place = |at: u64| usize::try_from(at).expect("small");
    match error {
        JournalError::Damaged { seq, byte, .. } => Found::Damaged(place(seq), place(byte)),
        other => Found::Other(other.to_string()),
    }
}

/// What the pass finds in the rest of a journal, if that is no whole record.
fn next(pass: &mut Pass<'_>, mut rest: &[u8]) -> Found {
    let records = usize::try_from(pass.head.records).expect("small");
    match pass.take(&mut rest, &mut |_, _| {}) {
        Ok(true) => Found::Whole(records + 1),
        Ok(false) if pass.line.is_empty() => Found::Whole(records),
        Ok(false) => Found::Torn(records, pass.line.len()),
        Err(error) => found(error),
    }
}

/// What a whole reading of these bytes finds.
fn reading(mut bytes: &[u8]) -> Found {
    let mut pass = Pass::new(Path::new(FILE));
    loop {
        match pass.take(&mut bytes, &mut |_, _| {}) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return found(error),
        }
    }
    match pass.end() {
        Err(error) => found(error),
        Ok(reading) => {
            let records = usize::try_from(reading.head.records).expect("small");
            match reading.torn.len() {
                0 => Found::Whole(records),
                torn => Found::Torn(records, torn),
            }
        }
    }
}

/// What must be found in `damaged`, by the definition of a torn tail alone.
fn expected(long: &Long, damaged: &[u8]) -> Found {
    let same = long.bytes.iter().zip(damaged).take_while(|(a, b)| a == b).count();
    let record = long.record_of(same);
    let Some(place) = long.records.get(record) else {
        // Everything is there, and more.
        return match &damaged[same..] {
            [] => Found::Whole(record),
            more if more.iter().all(|byte| *byte == 0) => Found::Torn(record, more.len()),
            _ => Found::Damaged(record, same),
        };
    };
    let (tail, line) = (&damaged[place.start..], &long.bytes[place.start..place.end - 1]);
    let prefix = same - place.start;
    match record {
        0 => Found::Damaged(0, 0),
        _ if tail.is_empty() => Found::Whole(record),
        _ if prefix < line.len() && tail[prefix..].iter().all(|byte| *byte == 0) => {
            Found::Torn(record, tail.len())
        }
        _ => Found::Damaged(record, place.start),
    }
}

/// Compared with the head that was kept of the whole journal.
fn against_head(long: &Long, damaged: &[u8]) -> Result<Kept, JournalError> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join(FILE), damaged).expect("written");
    compare(dir.path(), &long.head)
}

/// A place outside the file: the whole journal holds against it, what lost records at its end does not.
fn cut_shows(long: &Long, damaged: &[u8], records: usize) {
    let missing = long.head.records - records as u64;
    let byte = long.records[records].start as u64;
    assert_eq!(against_head(long, damaged).expect("readable"), Kept::Cut { missing, byte });
}

#[test]
fn every_bit_flip_is_noticed_and_named() {
    let (all, _) = cases(0, 0);
    let mut long = Long::written();
    let mut dice = Dice(SEED);
    let mut pass = Pass::new(Path::new(FILE));
    let (mut flips, last) = (0_usize, long.records.len() - 1);
    for (at, record) in long.records.clone().into_iter().enumerate() {
        for byte in record.clone() {
            let edge = at == last || byte + 1 == record.end || byte < 32;
            let structural = b"{}[]\":,\\".contains(&long.bytes[byte]);
            for bit in 0..8 {
                let sampled = dice.below(if structural { 16 } else { 64 }) == 0;
                if !(all || edge || sampled) {
                    continue;
                }
                long.bytes[byte] ^= 1 << bit;
                let found = next(&mut pass, &long.bytes[record.start..]);
                long.bytes[byte] ^= 1 << bit;
                assert_eq!(found, Found::Damaged(at, record.start), "bit {bit} of byte {byte}");
                flips += 1;
            }
        }
        assert_eq!(next(&mut pass, &long.bytes[record.start..]), Found::Whole(at + 1));
    }
    assert!(!all || flips == long::LENGTH * 8);
    println!(
        "flips: {flips} of {}, all noticed, 0 taken for torn (seed {SEED:#x})",
        long::LENGTH * 8
    );
}

#[test]
fn every_truncation_and_every_tail_of_zeros_is_what_it_is() {
    let (all, _) = cases(0, 0);
    let long = Long::written();
    let mut dice = Dice(SEED);
    let mut pass = Pass::new(Path::new(FILE));
    let (mut torn, mut refused, mut whole, mut damaged) = (0, 0, 0, Vec::new());
    for (at, record) in long.records.clone().into_iter().enumerate() {
        for cut in record.clone() {
            let edge = cut == record.start || cut + 3 > record.end;
            if !all && !edge && dice.below(8) != 0 {
                continue;
            }
            // Alone, and followed by the zeros of a file that was made longer before its bytes were there.
            for zeros in [0, 1 + dice.below(8192)] {
                damaged.clear();
                damaged.extend_from_slice(&long.bytes[record.start..cut]);
                damaged.resize(damaged.len() + zeros, 0);
                // Without its first record a file is no journal, however it lost it.
                let found = if at == 0 { reading(&damaged) } else { next(&mut pass, &damaged) };
                let (length, without_newline) = (cut - record.start, cut + 1 == record.end);
                let wanted = match (length, zeros) {
                    _ if at == 0 => Found::Damaged(0, 0),
                    _ if without_newline => Found::Damaged(at, record.start),
                    (0, 0) => Found::Whole(at),
                    _ => Found::Torn(at, length + zeros),
                };
                assert_eq!(found, wanted, "cut at {cut}, {zeros} zeros");
                match found {
                    Found::Torn(..) => torn += 1,
                    Found::Whole(_) => whole += 1,
                    _ => refused += 1,
                }
            }
        }
        if at > 0 {
            cut_shows(&long, &long.bytes[..record.start], at);
        }
        assert_eq!(next(&mut pass, &long.bytes[record.start..]), Found::Whole(at + 1));
    }
    assert_eq!(against_head(&long, &long.bytes).expect("readable"), Kept::Holds);
    for zeros in 1..=8192 {
        assert_eq!(next(&mut pass, &vec![0; zeros]), Found::Torn(long.records.len(), zeros));
    }
    println!("truncations: {torn} torn, {refused} refused, {whole} at a boundary; zeros: 1..=8192");
}

/// Reads `damaged` and compares with what the definition says.
#[track_caller]
fn judge(long: &Long, damaged: &[u8], what: std::fmt::Arguments<'_>) {
    let found = reading(damaged);
    assert_eq!(found, expected(long, damaged), "{what}");
    match found {
        Found::Whole(records) if records < long.records.len() => cut_shows(long, damaged, records),
        // Zeros in the last blocks of a file can not be told from a write cut short, but for the head.
        Found::Torn(records, _) if damaged.len() <= long.bytes.len() => {
            cut_shows(long, damaged, records);
        }
        Found::Whole(_) => assert_eq!(damaged, long.bytes, "{what}"),
        _ => {}
    }
}

/// The same for other content over the last bytes of the file. If it takes the last newline with it and reads on as some
/// record could, it can not be told from a write cut short; then the kept head must show it. Returns whether that was so.
#[track_caller]
fn judge_overwritten(long: &Long, damaged: &[u8], what: std::fmt::Arguments<'_>) -> bool {
    match (reading(damaged), expected(long, damaged)) {
        (Found::Torn(records, torn), Found::Damaged(record, start))
            if records == record && start + torn == damaged.len() =>
        {
            cut_shows(long, damaged, records);
            true
        }
        _ => {
            judge(long, damaged, what);
            false
        }
    }
}

#[test]
fn every_swap_repetition_and_removal_is_named() {
    let (all, pairs) = cases(60, 0);
    let long = Long::written();
    let lines: Vec<&[u8]> = long.records.iter().map(|it| &long.bytes[it.clone()]).collect();
    let mut dice = Dice(SEED);
    let mut tried = 0;
    for at in 0..lines.len() {
        let mut removed = lines.clone();
        removed.remove(at);
        judge(&long, &removed.concat(), format_args!("record {at} removed"));
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at]);
        judge(&long, &repeated.concat(), format_args!("record {at} twice"));
        let mut replayed = lines.clone();
        let to = dice.below(lines.len() + 1);
        replayed.insert(to, lines[at]);
        judge(&long, &replayed.concat(), format_args!("record {at} again at {to}"));
        tried += 3;
        for other in at + 1..lines.len() {
            if all || other == at + 1 || dice.below(lines.len() * lines.len() / 2) < pairs {
                let mut swapped = lines.clone();
                swapped.swap(at, other);
                judge(&long, &swapped.concat(), format_args!("records {at} and {other} swapped"));
                tried += 1;
            }
        }
    }
    println!("records: {tried} swaps, repetitions and removals, all named (seed {SEED:#x})");
}

#[test]
fn lost_misplaced_and_repeated_sectors_are_named() {
    const SECTOR: usize = 512;
    let (all, sample) = cases(1, 0);
    let long = Long::written();
    let sectors: Vec<&[u8]> = long.bytes.chunks(SECTOR).collect();
    let mut dice = Dice(SEED);
    let (mut tried, mut by_head_only) = (0, 0);
    for at in 0..sectors.len() {
        let mut lost = sectors.clone();
        lost[at] = &[0; SECTOR];
        judge(&long, &lost.concat(), format_args!("sector {at} zeros"));
        let mut from_here_on = long.bytes.clone();
        from_here_on[at * SECTOR..].fill(0);
        judge(&long, &from_here_on, format_args!("zeros from sector {at} on"));
        lost.remove(at);
        judge(&long, &lost.concat(), format_args!("sector {at} left out"));
        tried += 3;
        for from in 0..sectors.len() {
            if from == at || !(all || dice.below(sectors.len()) < sample) {
                continue;
            }
            let mut copied = sectors.clone();
            copied[at] = sectors[from];
            by_head_only += usize::from(judge_overwritten(
                &long,
                &copied.concat(),
                format_args!("sector {from} over sector {at}"),
            ));
            let mut swapped = sectors.clone();
            swapped.swap(at, from);
            by_head_only += usize::from(judge_overwritten(
                &long,
                &swapped.concat(),
                format_args!("sectors {from} and {at} swapped"),
            ));
            let mut inserted = sectors.clone();
            inserted.insert(at, sectors[from]);
            judge(&long, &inserted.concat(), format_args!("sector {from} again before {at}"));
            tried += 3;
        }
    }
    println!(
        "sectors: {tried} lost, misplaced or repeated, all named but {by_head_only} over the last one, which only a kept head \
         shows (seed {SEED:#x})"
    );
}

/// Several bits at once, or a run of random bytes; as often as not in the last record, where a torn tail would be looked
/// for.
#[test]
fn random_damage_of_many_bits_is_named() {
    let (_, count) = cases(200, 50_000);
    let long = Long::written();
    let mut dice = Dice(SEED);
    let last = long.records.last().expect("records").clone();
    for case in 0..count {
        let mut damaged = long.bytes.clone();
        let run = (dice.below(4) == 0).then(|| dice.below(long.bytes.len() - 64));
        for at in 0..2 + dice.below(15) {
            let byte = match (run, dice.below(4)) {
                (Some(run), _) => run + at,
                (None, 0) => last.end - 1,
                (None, 1 | 2) => last.start + dice.below(last.len()),
                (None, _) => dice.below(long.bytes.len()),
            };
            damaged[byte] ^= 1 << dice.below(8);
        }
        judge(&long, &damaged, format_args!("case {case}"));
    }
    println!("damage: {count} times 2 to 16 bits, all named (seed {SEED:#x})");
}
