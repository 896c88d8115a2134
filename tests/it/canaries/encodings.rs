//! The twelve encodings in which a secret is looked for, each as libraries and programs produce it.

use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// One encoding: its name, and every text that it makes of a value.
pub(crate) struct Encoding {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&str) -> Vec<String>,
}

/// All twelve. Wrapped into lines, hex and base64 are found in a text without its blanks.
pub(crate) const ENCODINGS: [Encoding; 12] = [
    Encoding { name: "raw", of: |text| vec![text.to_owned(), text.trim().to_owned()] },
    // Standard, alone (`base64`, `kubectl`) or inside something longer (`Authorization: Basic`).
    Encoding { name: "base64", of: |text| embedded(text, &STANDARD, &STANDARD_NO_PAD) },
    Encoding { name: "base64 for URLs", of: |text| embedded(text, &URL_SAFE, &URL_SAFE_NO_PAD) },
    Encoding { name: "hex", of: |text| vec![hex(text)] },
    Encoding { name: "HEX", of: |text| vec![hex(text).to_uppercase()] },
    // RFC 3986: all but the unreserved, with digits of either case.
    Encoding {
        name: "percent",
        of: |text| {
            let upper = percent(text, |byte| b"-._~".contains(&byte));
            vec![lower_escapes(&upper), upper]
        },
    },
    Encoding {
        name: "form",
        of: |text| vec![url::form_urlencoded::byte_serialize(text.as_bytes()).collect()],
    },
    Encoding { name: "in a URL", of: in_url },
    // As serde_json, as serializers that keep to ASCII, and as a JSON text inside a JSON text.
    Encoding {
        name: "JSON",
        of: |text| {
            let once = json(text);
            vec![json(&once), once, ascii(text)]
        },
    },
    Encoding { name: "Debug", of: |text| vec![unquoted(&format!("{text:?}"))] },
    // POSIX shells, libpq's key/value form, and SQL.
    Encoding {
        name: "quoted",
        of: |text| {
            let libpq = text.replace('\\', r"\\").replace('\'', r"\'");
            vec![text.replace('\'', r"'\''"), libpq, text.replace('\'', "''")]
        },
    },
    Encoding {
        name: "HTML",
        of: |text| {
            let basic = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let named = basic.replace('"', "&quot;").replace('\'', "&apos;");
            vec![named, basic.replace('"', "&#34;").replace('\'', "&#39;"), basic]
        },
    },
];

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn percent(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String");
        }
    }
    out
}

/// The escapes, and only they, in lower case.
fn lower_escapes(text: &str) -> String {
    let mut pieces = text.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |out, piece| {
        let (digits, rest) = piece.split_at(2);
        format!("{out}%{}{rest}", digits.to_lowercase())
    })
}

/// The whole, and what depends on the value alone at each place in a group of three.
fn embedded(text: &str, padded: &impl base64::Engine, bare: &impl base64::Engine) -> Vec<String> {
    let mut all = vec![padded.encode(text)];
    for offset in 0..3 {
        let bytes = [&[0; 2][..offset], text.as_bytes()].concat();
        let encoded = bare.encode(&bytes);
        all.push(encoded[(offset * 8).div_ceil(6)..bytes.len() * 8 / 6].to_owned());
    }
    all
}

/// As the password, as a part of the path and as a value of the query, as the crate `url` writes them.
fn in_url(text: &str) -> Vec<String> {
    let mut url = url::Url::parse("https://crm@db.example/").expect("a URL");
    url.set_password(Some(text)).expect("a URL with a host");
    url.path_segments_mut().expect("a path").push(text);
    let path = url.path()[1..].to_owned();
    let mut all = vec![url.password().expect("a password").to_owned(), path];
    url.set_query(Some(text));
    all.extend(url.query().map(str::to_owned));
    all
}

fn json(text: &str) -> String {
    unquoted(&serde_json::to_string(text).expect("a text"))
}

fn ascii(text: &str) -> String {
    json(text).chars().fold(String::new(), |mut out, character| {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a String");
            }
        }
        out
    })
}

fn unquoted(text: &str) -> String {
    text[1..text.len() - 1].to_owned()
}
