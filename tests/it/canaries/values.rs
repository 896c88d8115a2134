//! The forty values, each of a shape that breaks some naive way of hiding it. Nobody would write one by chance.

use std::fmt::Write as _;

/// A secret that must not come out.
pub(crate) struct Canary {
    /// What is special about it, for the report.
    pub(crate) shape: &'static str,
    pub(crate) value: String,
}

/// Values as they stand.
const PLAIN: [(&str, &str); 34] = [
    ("eight letters", "qzvkwjxp"),
    ("eight characters", "Zq7!vK2#"),
    ("sixteen characters", "wQ8vzK3mXr5tYp2n"),
    (
        "ninety characters",
        "vz0Lk9Qw8Er7Ty6Ui5Op4As3Df2Gh1JkZxCvBnMqWe0rTy9uIo8pAs7dFg6hJk5lZx4cVb3nMq2wEr1tYz7QkVxWjPq",
    ),
    ("a double quote", "say\"friend\"qzx9"),
    ("a single quote", "it's'qzx'8kv"),
    ("backslashes", r"C:\qzx\new\table\u0041\\7"),
    ("spaces", "correct horse qzx battery staple"),
    ("percent signs", "100%41%zq%2Fxk%%77"),
    ("plus signs", "a+b+qzx+1+vk"),
    ("slashes", "qzx/8kw/../vj//9"),
    ("equals signs", "qzx==8kw=vj=="),
    ("ampersands", "qzx&8kw&amp;vj&lt;"),
    ("an at sign", "qzx@8kw@vj.example"),
    ("colons", "qzx:8kw::vj:"),
    ("angle brackets", "<qzx>8kw</vj><!-- -->"),
    ("braces", "{{ qzx }}${8kw}{vj}"),
    ("accents", "pâßwörd-qzx-é8kw"),
    ("letters outside Latin", "пароль-密码-qzx8kw"),
    ("outside the first plane", "🔑qzx🗝8kw🔒"),
    ("blanks before", "   qzx-before-8kw"),
    ("blanks after", "qzx-after-8kwj\t  "),
    ("tabs", "qzx\t8kw\tvj\tpw"),
    ("digits", "80417263958124"),
    ("hex", "deadbeefcafe0ddba11f00d5"),
    ("base64", "cXp4OGt3dmpwcXp4OGt3dmo="),
    ("base64 for URLs", "qzx-8kw_vjP-q_Zx8-KwVjPq"),
    ("a list of JSON", r#"["qzx8kw","vj",{"a":null}]"#),
    ("an object of JSON", r#"{"client_id":"app","client_secret":"qzx~8kw~vj~pq"}"#),
    ("another canary inside", "before-wQ8vzK3mXr5tYp2n-after"),
    (
        "a connection string",
        "Server=tcp:db.example,1433;User ID=crm;Password={qzx;8kw};Encrypt=True",
    ),
    (
        "a shared access signature",
        "sv=2024-11-04&ss=b&sig=qzx%2B8kw%2Fvj%3D&se=2026-12-31T00%3A00%3A00Z",
    ),
    ("a common word", "umbrellas"),
    ("shell", "$(qzx) `8kw` !! ; rm -rf vj | $HOME"),
];

/// The certain line that gives a key file away.
const PEM_LINE: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDQzx8KwVjPqZx8";

/// All forty. `url` is where one of them, a URL, leads.
pub(crate) fn canaries(url: &str) -> Vec<Canary> {
    let mut canaries: Vec<Canary> =
        PLAIN.iter().map(|&(shape, value)| Canary { shape, value: value.to_owned() }).collect();
    let mut long = String::new();
    for index in 0..512 {
        write!(long, "{:08x}", 0x9e37_79b9_u32.wrapping_mul(index + 7)).expect("a String");
    }
    let pem: String = (10..30).fold("-----BEGIN PRIVATE KEY-----\n".to_owned(), |text, line| {
        text + &PEM_LINE.replace("MIIE", &format!("q{line}z")) + "\n"
    }) + "-----END PRIVATE KEY-----";
    let (scheme, rest) = url.split_once("://").expect("a URL");
    for (shape, value) in [
        ("4 KiB", long),
        ("a key file", pem),
        ("two lines", "qzx-first-8kw\nqzx-second-vj".to_owned()),
        ("a URL with a password", format!("{scheme}://crm:qzx%408kw@{rest}/login")),
        (
            "a URL with a signature",
            format!("{url}/hooks/T0QZX/B8KW?sig=qzx%2B8kw%3D%3D&code=vjpqzx88"),
        ),
        (
            "a database's URL",
            "postgres://crm:q%2Fz'x8kw@db.example:5432/crm?sslmode=verify-full".to_owned(),
        ),
    ] {
        canaries.push(Canary { shape, value });
    }
    assert_eq!(canaries.len(), 40);
    canaries
}
