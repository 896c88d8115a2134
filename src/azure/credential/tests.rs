//! Each way to get a token, against a scripted authority.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use azure_core::http::HttpClient;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::*;
use crate::azure::CloudName;
use crate::azure::testing::{Answer, Script};
use crate::plan::SecretRef;

const CONTENT: &str = "s3cret-value";

async fn chosen(
    settings: &Value,
    script: &Arc<Script>,
    folder: &Path,
) -> Result<CredentialReport, ArmError> {
    std::fs::write(folder.join("secret"), CONTENT).expect("a file");
    let references = BTreeMap::from([("sp".to_owned(), SecretRef::File("secret".to_owned()))]);
    let transport: Arc<dyn HttpClient> = Arc::clone(script) as Arc<dyn HttpClient>;
    let origin = Origin {
        cloud: &Cloud::known(CloudName::UsGovernment).expect("a cloud"),
        transport: &transport,
        secrets: &Secrets::new(references).relative_to(folder),
        base: folder,
        subscription: "s",
        clock: &Clock::skipping_from(Timestamp::UNIX_EPOCH),
    };
    let settings = CredentialSettings::read(settings).expect("settings");
    choose(&settings, &origin).await.map(|(_, report)| report)
}

fn token() -> Answer {
    let body = json!({ "token_type": "Bearer", "expires_in": 3600, "access_token": "t" });
    Answer::json(200, &body)
}

fn form(script: &Script) -> BTreeMap<String, String> {
    let body = script.seen()[0].body.as_str().unwrap_or_default().to_owned();
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn principal(proof: &str, of: &str) -> Value {
    json!({ "service_principal": { "tenant": "ten-ant", "client_id": "client", proof: of } })
}

#[tokio::test]
async fn a_service_principal_asks_the_clouds_own_authority() {
    let (script, folder) = (Script::new([token()]), tempfile::tempdir().expect("a folder"));
    let report = chosen(&principal("secret", "sp"), &script, folder.path()).await.expect("a token");
    assert_eq!(report.taken, Some(CredentialKind::ServicePrincipal));
    assert_eq!(script.lines(), ["POST /ten-ant/oauth2/v2.0/token?"],);
    assert_eq!(script.seen()[0].url.host_str(), Some("login.microsoftonline.us"));
    let form = form(&script);
    assert_eq!(form["client_secret"], CONTENT);
    assert_eq!(form["scope"], "https://management.usgovcloudapi.net/.default");
}

#[tokio::test]
async fn a_refused_secret_is_reported_and_not_shown() {
    let body = json!({ "error": "invalid_client", "error_codes": [7_000_215],
        "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: x" });
    let script = Script::new([Answer::json(401, &body)]);
    let folder = tempfile::tempdir().expect("a folder");
    let error = chosen(&principal("secret", "sp"), &script, folder.path()).await;
    let text = error.expect_err("refused").to_string();
    assert!(text.contains("service-principal") && text.contains("AADSTS7000215"), "{text}");
    assert!(!text.contains(CONTENT));
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_for_the_token_endpoint() {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .expect("a key");
    let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
    let (script, folder) = (Script::new([token()]), tempfile::tempdir().expect("a folder"));
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    std::fs::write(folder.path().join("sp.pem"), pem).expect("a file");
    let settings = principal("certificate", "sp.pem");
    chosen(&settings, &script, folder.path()).await.expect("a token");
    let form = form(&script);
    let assertion = &form["client_assertion"];
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.der_bytes())
        .verify(signed.as_bytes(), &bytes(signature))
        .expect("signed by the certificate's key");
    let part = |nth: usize| -> Value {
        let text = signed.split('.').nth(nth).expect("a part");
        serde_json::from_slice(&bytes(text)).expect("JSON")
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(header["alg"], "RS256");
    assert!(header["x5t#S256"].is_string());
    assert_eq!(claims["aud"], "https://login.microsoftonline.us/ten-ant/oauth2/v2.0/token");
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("client"), &json!("client")));
    assert_eq!((&claims["nbf"], &claims["exp"]), (&json!(0), &json!(600)));
}

#[tokio::test]
async fn a_file_without_key_or_certificate_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("sp.pem"), "nothing").expect("a file");
    for file in ["sp.pem", "missing.pem"] {
        let error = chosen(&principal("certificate", file), &Script::new([]), folder.path()).await;
        let text = error.expect_err("refused").to_string();
        assert!(text.contains(file), "{text}");
    }
}

fn metadata_token() -> Answer {
    Answer::json(
        200,
        &json!({ "access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer" }),
    )
}

#[tokio::test]
async fn auto_says_which_it_took_and_why_the_ones_before_it_failed() {
    let script = Script::new((0..4).map(|_| metadata_token()));
    let folder = tempfile::tempdir().expect("a folder");
    let report = chosen(&json!("auto"), &script, folder.path()).await.expect("the last one works");
    // What this machine is set up for may work earlier; the order and the reasons hold everywhere.
    let failed: Vec<_> = report.failed.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(failed, AUTO[..failed.len()]);
    assert_eq!(report.taken, Some(AUTO[failed.len()]));
    assert!(report.failed.iter().all(|(_, why)| !why.is_empty()), "{report}");
}

#[tokio::test]
async fn a_managed_identity_asks_the_metadata_service() {
    let (script, folder) =
        (Script::new([metadata_token()]), tempfile::tempdir().expect("a folder"));
    let report = chosen(&json!("managed-identity"), &script, folder.path()).await.expect("a token");
    assert_eq!(report.taken, Some(CredentialKind::ManagedIdentity));
    let asked = script.seen().pop().expect("a request");
    let resource =
        asked.url.query_pairs().find(|(key, _)| key == "resource").expect("a resource").1;
    assert_eq!(resource, "https://management.usgovcloudapi.net");
}
