//! TDS 7.4 as a server speaks it, as far as a client that logs in and asks needs it: messages in packets, what a login and a
//! batch hold, and the tokens of an answer. Written from Microsoft's [MS-TDS].

use std::io::{self, Read, Write};

use migrate::database::Named;

/// Kinds of messages.
pub(crate) const BATCH: u8 = 0x01;
pub(crate) const ATTENTION: u8 = 0x06;
pub(crate) const LOGIN: u8 = 0x10;
pub(crate) const PRELOGIN: u8 = 0x12;
const ANSWER: u8 = 0x04;

const HEADER: usize = 8;
const LAST: u8 = 0x01;
/// What a packet carries at most, short of its header.
const ROOM: usize = 4096 - HEADER;
/// Version 7.4, which a login acknowledgement writes with its high byte first.
const VERSION: [u8; 4] = [0x74, 0x00, 0x00, 0x04];
/// 1033, case-insensitive: Latin1.
const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];
/// What stands behind the rows of an answer is longer than this by the header of a packet and some bytes less than a row has.
pub(crate) const BEHIND_ROWS: usize = 36;
/// Status of the end of an answer that the client gave up.
pub(crate) const GIVEN_UP: u16 = 0x20;
/// Longest text of a column, in bytes.
const TEXT: u16 = 8000;

/// Reads one whole message; none where the client has gone.
pub(crate) fn read(stream: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut message = Vec::new();
    loop {
        let mut header = [0; HEADER];
        match stream.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let begin = message.len();
        message.resize(begin + length.saturating_sub(HEADER), 0);
        stream.read_exact(&mut message[begin..])?;
        if header[1] & LAST != 0 {
            return Ok(Some((header[0], message)));
        }
    }
}

/// Sends one answer, or as much of it as `cut` lets through.
pub(crate) fn send(stream: &mut impl Write, message: &[u8], cut: Option<usize>) -> io::Result<()> {
    send_as(ANSWER, stream, message, cut)
}

/// The same as a message of that kind.
pub(crate) fn send_as(
    kind: u8,
    stream: &mut impl Write,
    message: &[u8],
    cut: Option<usize>,
) -> io::Result<()> {
    let mut out = Vec::new();
    let packets = message.chunks(ROOM).count();
    for (at, part) in message.chunks(ROOM).enumerate() {
        let length = u16::try_from(part.len() + HEADER).expect("it fits");
        let status = if at + 1 == packets { LAST } else { 0 };
        let id = u8::try_from(at % 256).expect("it fits");
        out.extend([kind, status]);
        out.extend(length.to_be_bytes());
        out.extend([0, 0, id, 0]);
        out.extend(part);
    }
    out.truncate(cut.unwrap_or(out.len()));
    stream.write_all(&out)?;
    stream.flush()
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
}

impl Login {
    pub(crate) fn read(message: &[u8]) -> Self {
        let bytes = |at: usize| {
            let number =
                |at: usize| usize::from(u16::from_le_bytes([message[at], message[at + 1]]));
            let (begin, characters) = (number(at), number(at + 2));
            message[begin..begin + 2 * characters].to_vec()
        };
        // Half bytes swapped, then inverted in part: no secret to who listens.
        let plain =
            bytes(44).into_iter().map(|byte| (byte ^ 0xa5).rotate_right(4)).collect::<Vec<u8>>();
        Self { user: text(&bytes(40)), password: text(&plain), database: text(&bytes(68)) }
    }
}

/// The statements of a batch, behind its headers.
pub(crate) fn batch(message: &[u8]) -> String {
    let headers: [u8; 4] = message[..4].try_into().expect("four bytes");
    text(&message[usize::try_from(u32::from_le_bytes(headers)).expect("it fits")..])
}

fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A text behind its length in one byte.
fn short(text: &str) -> Vec<u8> {
    let units = u8::try_from(text.encode_utf16().count()).expect("a short text");
    [vec![units], utf16(text)].concat()
}

/// A token whose length stands in front of it.
fn token(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("it fits").to_le_bytes();
    [&[kind][..], &length, body].concat()
}

/// The answer to a prelogin: a version, and whether all is encrypted or there is no TLS.
pub(crate) fn prelogin(is_encrypted: bool) -> Vec<u8> {
    const VERSION_AT: u8 = 11;
    const NOT_SUPPORTED: u8 = 0x02;
    const REQUIRED: u8 = 0x03;
    let options = [0x00, 0, VERSION_AT, 0, 6, 0x01, 0, VERSION_AT + 6, 0, 1, 0xff];
    let encryption = if is_encrypted { REQUIRED } else { NOT_SUPPORTED };
    [&options[..], &[16, 0, 0x0f, 0xa0, 0, 0], &[encryption]].concat()
}

/// The answer to a login that is let in.
pub(crate) fn welcome(database: &str) -> Vec<u8> {
    let moved = [&[1][..], &short(database), &short("master")].concat();
    let acknowledged = [&[1][..], &VERSION, &short("Microsoft SQL Server"), &[16, 0, 0x0f, 0xa0]];
    let packets = [&[4][..], &short("4096"), &short("4096")].concat();
    [token(0xe3, &moved), token(0xad, &acknowledged.concat()), token(0xe3, &packets), done(0)]
        .concat()
}

/// Where a login is to go instead.
pub(crate) fn elsewhere(port: u16) -> Vec<u8> {
    let host = "127.0.0.1";
    let units = u16::try_from(host.len()).expect("it fits").to_le_bytes();
    let there = [&[0][..], &port.to_le_bytes(), &units, &utf16(host)].concat();
    let length = u16::try_from(there.len()).expect("it fits").to_le_bytes();
    let routed = [&[20][..], &length, &there, &[0, 0]].concat();
    let acknowledged = [&[1][..], &VERSION, &short("Microsoft SQL Server"), &[16, 0, 0x0f, 0xa0]];
    [token(0xad, &acknowledged.concat()), token(0xe3, &routed), done(0)].concat()
}

/// An error, by its number, and the end of the answer.
pub(crate) fn error(number: u32, message: &str) -> Vec<u8> {
    let words = u16::try_from(message.encode_utf16().count()).expect("it fits").to_le_bytes();
    let body = [
        &number.to_le_bytes()[..],
        &[1, 16],
        &words,
        &utf16(message),
        &short("sql"),
        &short(""),
        &1_u32.to_le_bytes(),
    ];
    [token(0xaa, &body.concat()), done(0x02)].concat()
}

/// Rows of texts within a transaction that begins and is rolled back, as the program asks for them.
pub(crate) fn rows(rows: &[Named]) -> Vec<u8> {
    const MORE: u16 = 0x01;
    let transaction = [7; 8];
    let begun = [&[8, 8][..], &transaction, &[0]].concat();
    let over = [&[10, 0, 8][..], &transaction].concat();
    [token(0xe3, &begun), done(MORE), result(rows), done(MORE | 0x10), token(0xe3, &over), done(0)]
        .concat()
}

/// Rows that a procedure answers with outside of a transaction, what it returns, and its end.
pub(crate) fn called(rows: &[Named]) -> Vec<u8> {
    const MORE: u16 = 0x01;
    const IN_PROCEDURE: u8 = 0xff;
    const OF_PROCEDURE: u8 = 0xfe;
    let (in_procedure, returned) = (end(IN_PROCEDURE, MORE), [0x79, 0, 0, 0, 0]);
    [result(rows), in_procedure, returned.to_vec(), end(OF_PROCEDURE, 0)].concat()
}

/// A column that procedures of the server answer with as a number, by its documented type; it is as wide as that.
fn wide(column: &str) -> Option<u8> {
    match column {
        "tracer_id" => Some(4),
        _ => column.ends_with("_latency").then_some(8),
    }
}

/// Columns and rows. Where there is no row there is one column.
fn result(rows: &[Named]) -> Vec<u8> {
    let nobody = Named::from([("nothing".to_owned(), None)]);
    let first = rows.first().unwrap_or(&nobody);
    let mut out = vec![0x81];
    out.extend(u16::try_from(first.len()).expect("it fits").to_le_bytes());
    for name in first.keys() {
        out.extend([0, 0, 0, 0, 0x01, 0x00]);
        if let Some(wide) = wide(name) {
            // A nullable number.
            out.extend([0x26, wide]);
        } else {
            // A nullable nvarchar.
            out.push(0xe7);
            out.extend(TEXT.to_le_bytes());
            out.extend(COLLATION);
        }
        out.extend(short(name));
    }
    for row in rows {
        out.push(0xd1);
        for name in first.keys() {
            let value = row.get(name).cloned().flatten();
            if let Some(wide) = wide(name) {
                let number = value.map(|it| it.parse::<i64>().expect("a number").to_le_bytes());
                let bytes = number.as_ref().map_or(&[][..], |it| &it[..usize::from(wide)]);
                out.push(u8::try_from(bytes.len()).expect("it fits"));
                out.extend(bytes);
                continue;
            }
            let bytes = value.map(|value| utf16(&value));
            let length =
                bytes.as_ref().map_or(0xffff, |it| u16::try_from(it.len()).expect("it fits"));
            out.extend(length.to_le_bytes());
            out.extend(bytes.unwrap_or_default());
        }
    }
    out
}

/// The end of a statement.
pub(crate) fn done(status: u16) -> Vec<u8> {
    end(0xfd, status)
}

fn end(kind: u8, status: u16) -> Vec<u8> {
    [&[kind][..], &status.to_le_bytes(), &[0xc1, 0x00], &0_u64.to_le_bytes()].concat()
}
