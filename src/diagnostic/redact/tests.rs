use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use std::io::Write as _;

use super::*;

fn knowing(secret: &str) -> Redactor {
    let redactor = Redactor::default();
    redactor.register(&SecretString::from(secret)).expect("long enough");
    redactor
}

/// Every usual way in which a library or a person may spell the secret.
fn shapes(secret: &str, before: &str, after: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).expect("a string");
    let around = format!("{before}{secret}{after}");
    let mut in_url = url::Url::parse("postgres://crm@db.example/crm").expect("a URL");
    in_url.set_password(Some(secret)).expect("a URL with a host");
    let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let percent: Vec<_> = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        format!("{secret:?}"),
        STANDARD.encode(&around),
        URL_SAFE_NO_PAD.encode(&around),
        crate::run::hex(secret.as_bytes()),
        crate::run::hex(secret.as_bytes()).to_uppercase(),
        in_url.to_string(),
        form,
        percent.concat(),
        format!("host=db password='{}'", secret.replace('\\', "\\\\").replace('\'', "\\'")),
        format!("curl -H '{}'", secret.replace('\'', r"'\''")),
        html(secret),
        wrapped(&STANDARD.encode(&around), 10),
        wrapped(&crate::run::hex(secret.as_bytes()), 8),
        serde_json::to_string(&json).expect("a string"),
        percent.concat().replace('%', "%25"),
        ascii_json(secret),
    ]
}

fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#x27;")
}

fn wrapped(text: &str, columns: usize) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(columns).map(String::from_utf8_lossy).collect();
    lines.join("\n")
}

/// As serializers write it that keep to ASCII.
fn ascii_json(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |text, unit| format!("{text}\\u{unit:04x}"))
}

/// What must not be readable in what came out, nor in any decoding of it.
fn leaks(out: &str, secret: &str) -> bool {
    let undone: Vec<u8> = percent_decoded(out);
    out.contains(secret)
        || String::from_utf8_lossy(&undone).contains(secret)
        || out.to_lowercase().contains(&crate::run::hex(secret.as_bytes()))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    url::form_urlencoded::parse(format!("k={}", text.replace('&', "%26")).as_bytes())
        .flat_map(|(_, value)| value.into_owned().into_bytes())
        .collect()
}

proptest! {
    #[test]
    fn no_shape_of_a_secret_passes(
        secret in "[ -~éß€😀]{6,40}",
        before in "[a-z:]{0,5}",
        after in "[a-z@]{0,5}",
    ) {
        let redactor = knowing(&secret);
        for shape in shapes(&secret, &before, &after) {
            let out = redactor.redact(&shape).into_owned();
            prop_assert!(out.contains(MASK), "not seen: {shape}");
            prop_assert!(!leaks(&out, &secret), "{shape} became {out}");
        }
    }

    #[test]
    fn cutting_the_bytes_into_writes_changes_nothing(
        secret in "[!-~]{4,30}",
        cuts in prop::collection::vec(1_usize..7, 0..40),
    ) {
        prop_assume!(!MASK.contains(&secret));
        let text = format!("at {secret}\nthen {} and {secret}", STANDARD.encode(format!("u:{secret}")));
        let mut written = Vec::new();
        {
            let mut writer = RedactingWriter::new(&mut written, knowing(&secret));
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                writer.write_all(head).expect("a Vec takes everything");
                writer.flush().expect("a Vec takes everything");
                rest = tail;
            }
            writer.write_all(rest).expect("a Vec takes everything");
        }
        let whole: String = text.split_inclusive('\n').map(|line| knowing(&secret).redact(line).into_owned()).collect();
        prop_assert_eq!(String::from_utf8_lossy(&written), whole.as_str());
        prop_assert!(!leaks(&whole, &secret));
    }

    #[test]
    fn text_without_the_secret_is_not_touched(text in "[a-y ]{0,80}") {
        let redactor = knowing("zzzz-Zq9!x");
        prop_assert!(matches!(redactor.redact(&text), Cow::Borrowed(same) if same == text));
    }
}

#[test]
fn the_longest_of_two_overlapping_secrets_goes() {
    let redactor = knowing("hunter22");
    redactor.register(&SecretString::from("hunter22-long-tail")).expect("long enough");
    assert_eq!(redactor.redact("pw=hunter22-long-tail."), "pw=[secret].");
}

#[test]
fn two_overlapping_secrets_leave_no_half() {
    let redactor = knowing("abcdefgh");
    redactor.register(&SecretString::from("efghijklmnop")).expect("long enough");
    assert_eq!(redactor.redact("<abcdefghijklmnop>"), "<[secret]>");
}

#[test]
fn what_others_quote_of_a_secret_is_known() {
    for (secret, quoted) in [
        ("  spaced out \t", "spaced out"),
        ("tab\tbed\tvalue", "tabbedvalue"),
        ("HTTPS://Hooks.Example:443/T0/B0?k=v", "https://hooks.example/T0/B0?k=v"),
        ("https://hooks.example/services/T0B0xyz", "/services/T0B0xyz"),
        ("postgres://crm:p%40ss-w0rd@db/crm", "p@ss-w0rd"),
        ("AccountName=crm;AccountKey=q1w2e3r4==;EndpointSuffix=x", "q1w2e3r4=="),
        ("sv=2022&sig=ab%2Bcd%3D", "ab+cd="),
        ("host=db user=crm password='hush-hush'", "hush-hush"),
        (r#"{"tenant":"t","client_secret":"hush~hush"}"#, "hush~hush"),
    ] {
        let said = format!("<{quoted}>");
        assert_eq!(knowing(secret).redact(&said), "<[secret]>", "{secret}");
    }
}

#[test]
fn every_line_of_a_key_file_is_known() {
    let redactor = knowing("-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----");
    assert_eq!(redactor.redact("read MIIEvQIBADANBg from disk"), "read [secret] from disk");
}

#[tokio::test]
async fn references_resolve_once_and_are_known_from_then_on() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("db"), "s3cr3t pass\n").expect("a file");
    std::fs::write(folder.path().join("short"), "abc\n").expect("a file");
    let references = [
        ("file", SecretRef::File("db".to_owned())),
        ("short", SecretRef::File("short".to_owned())),
        ("gone", SecretRef::File("gone".to_owned())),
        ("unset", SecretRef::Env("MIGRATE_TEST_NO_SUCH_VARIABLE".to_owned())),
        ("printed", SecretRef::Command(["printf", "fr0m-command\\n"].map(str::to_owned).to_vec())),
        ("fails", SecretRef::Command(vec!["false".to_owned()])),
        ("vault", SecretRef::KeyVault("https://kv.vault.azure.net/secrets/a?sig=x".to_owned())),
    ]
    .map(|(name, reference)| (name.to_owned(), reference));
    let secrets = Secrets::new(BTreeMap::from(references)).relative_to(folder.path());
    let redactor = secrets.redactor();
    assert_eq!(redactor.redact("s3cr3t pass"), "s3cr3t pass", "not resolved yet");

    assert_eq!(secrets.get("file").await.expect("resolves").expose_secret(), "s3cr3t pass");
    std::fs::remove_file(folder.path().join("db")).expect("the file goes");
    assert!(secrets.get("file").await.is_ok(), "resolved once");
    assert_eq!(redactor.redact("--s3cr3t+pass"), "--[secret]");
    assert_eq!(secrets.get("printed").await.expect("resolves").expose_secret(), "fr0m-command");

    for (name, says) in [
        ("short", "shorter than 4 characters"),
        ("gone", "can not be read"),
        ("unset", "MIGRATE_TEST_NO_SUCH_VARIABLE is not set"),
        ("fails", "`false` ended with"),
        ("vault", "needs an `azure` section"),
        ("other", "not declared under `secrets`"),
    ] {
        let error = secrets.get(name).await.expect_err("refused");
        assert!(error.contains(says) && error.contains(name) && !error.contains("sig="), "{error}");
    }
}
