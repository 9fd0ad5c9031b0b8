//! Providers that want more than a key in every head: a token that is fetched and renewed, a signature
//! over each request, and Azure's own address.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use loadtest::provider::{Config, Handle, Provider};
use tests::http::{Answer, chat};
use tests::{Gateway, Setup};

fn provider() -> Handle {
    Provider::start(Config { record: 1_000, ..Config::default() }).expect("a provider")
}

fn model(provider: &str, wire_id: &str) -> String {
    format!(
        "[[model]]\nid = \"fake/m\"\ncontext = 128000\ncan = [\"streaming\"]\n\
         [[model.offers]]\nprovider = \"{provider}\"\nwire_id = \"{wire_id}\"\nprice = {{ input = 1, output = 1 }}\n"
    )
}

fn ask(gateway: &Gateway) -> Answer {
    let body = br#"{"model":"fake/m","messages":[{"role":"user","content":"Hello"}]}"#;
    let mut connection = gateway.connect();
    connection.send(&chat(gateway.key(), body));
    connection.answer()
}

/// The value of a field of the last request that a provider got.
fn last_field(provider: &Handle, name: &str) -> Option<String> {
    let recorded = provider.recorded();
    let head = String::from_utf8_lossy(&recorded.last()?.head).into_owned();
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// Gives out `token-1`, `token-2` and so on, each good for so many seconds.
struct TokenServer {
    address: SocketAddr,
    given: Arc<AtomicU64>,
    is_down: Arc<AtomicBool>,
    asked: Arc<Mutex<String>>,
}

impl TokenServer {
    fn start(life_s: u64) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (given, is_down) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let asked = Arc::new(Mutex::new(String::new()));
        let server = TokenServer {
            address,
            given: Arc::clone(&given),
            is_down: Arc::clone(&is_down),
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                // The body comes with the head or right behind it.
                while !String::from_utf8_lossy(&request).contains("grant_type") {
                    match stream.read(&mut piece) {
                        Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
                        _ => break,
                    }
                }
                *asked.lock().expect("sound") = String::from_utf8_lossy(&request).into_owned();
                let (status, body) = if is_down.load(Ordering::Relaxed) {
                    ("503 Down", "{\"error\":\"unavailable\"}".to_owned())
                } else {
                    let number = given.fetch_add(1, Ordering::Relaxed) + 1;
                    let body = format!(
                        "{{\"access_token\":\"token-{number}\",\"expires_in\":{life_s},\"token_type\":\"Bearer\"}}"
                    );
                    ("200 OK", body)
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        server
    }
}

/// A gateway in front of `provider`, which wants tokens of `server`.
fn vertex(server: &TokenServer, provider: &Handle) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("credentials.json");
    let file = serde_json::json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": "r/1",
        "token_uri": format!("http://{}/token", server.address),
    });
    std::fs::write(&path, file.to_string()).expect("written");
    let config = format!(
        "[[provider]]\nid = \"vertex\"\nbase_url = \"http://{}/{{place}}/endpoints/openapi\"\n\
         fill = {{ place = \"europe-west4\" }}\nauth = \"google-oauth2\"\n\
         env = \"GOOGLE_APPLICATION_CREDENTIALS\"\n{}",
        provider.addr(),
        model("vertex", "google/m")
    );
    let gateway = Setup::new()
        .config(&config)
        .environment("GOOGLE_APPLICATION_CREDENTIALS", &path.display().to_string())
        .start();
    (gateway, folder)
}

#[test]
fn a_token_is_fetched_before_the_first_request_and_kept() {
    let (server, provider) = (TokenServer::start(3_600), provider());
    let (gateway, _folder) = vertex(&server, &provider);
    for _ in 0..3 {
        let answer = ask(&gateway);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(last_field(&provider, "authorization").as_deref(), Some("Bearer token-1"));
    }
    let head = String::from_utf8_lossy(&provider.recorded()[0].head).into_owned();
    assert!(head.starts_with("POST /europe-west4/endpoints/openapi/chat/completions "), "{head}");
    let asked = server.asked.lock().expect("sound").clone();
    assert!(asked.contains("grant_type=refresh_token"), "{asked}");
    assert!(asked.contains("refresh_token=r%2F1"), "{asked}");
    assert_eq!(server.given.load(Ordering::Relaxed), 1);
}

#[test]
fn a_token_is_renewed_before_its_end_and_no_dead_one_is_shown() {
    let (server, provider) = (TokenServer::start(2), provider());
    let (gateway, _folder) = vertex(&server, &provider);
    gateway.until("a later token is shown", |gateway| {
        let answer = ask(gateway);
        assert_eq!(answer.status, 200, "{answer:?}");
        last_field(&provider, "authorization").as_deref() != Some("Bearer token-1")
    });
    server.is_down.store(true, Ordering::Relaxed);
    gateway.until("there is no token any more", |gateway| {
        let answer = ask(gateway);
        assert!([200, 502, 503].contains(&answer.status), "{answer:?}");
        answer.status == 502
    });
    server.is_down.store(false, Ordering::Relaxed);
    gateway.until("there is a token again", |gateway| ask(gateway).status == 200);
}

#[test]
fn each_request_to_aws_is_signed() {
    let provider = provider();
    let config = format!(
        "[[provider]]\nid = \"aws\"\nbase_url = \"http://{}/openai/v1\"\nauth = \"aws-sigv4\"\n{}",
        provider.addr(),
        model("aws", "openai.gpt-oss-20b-1:0")
    );
    let gateway = Setup::new()
        .config(&config)
        .environment("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .environment("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
        .environment("AWS_SESSION_TOKEN", "session")
        .environment("AWS_REGION", "eu-central-1")
        .start();
    let answer = ask(&gateway);
    assert_eq!(answer.status, 200, "{answer:?}");
    let signed = last_field(&provider, "authorization").expect("it is signed");
    let date = last_field(&provider, "x-amz-date").expect("it is dated");
    let day = &date[..8];
    assert!(
        signed.starts_with(&format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
        )),
        "{signed}"
    );
    assert_eq!(last_field(&provider, "x-amz-security-token").as_deref(), Some("session"));
    // The signature is that of these bytes: the same signer over what arrived.
    let recorded = provider.recorded();
    let request = recorded.last().expect("a request");
    let signer = engine::credential::sigv4::Signer::new(
        ("AKIDEXAMPLE".into(), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
        Some("session".into()),
        "eu-central-1".into(),
        "bedrock",
        provider.addr().to_string(),
    );
    let now = seconds_of(&date);
    let expected = signer.lines("/openai/v1/chat/completions", &[&request.body], now);
    assert!(expected.contains(&signed), "{expected}\n{signed}");
}

/// Unix seconds of `20261121T020304Z`, by Howard Hinnant's count of days.
fn seconds_of(date: &str) -> i64 {
    let part = |range: std::ops::Range<usize>| date[range].parse::<i64>().expect("digits");
    let (year, month, day) = (part(0..4), part(4..6), part(6..8));
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted / 400;
    let of_era = shifted - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days * 86_400 + part(9..11) * 3_600 + part(11..13) * 60 + part(13..15)
}

#[test]
fn azures_addresses_are_data() {
    let provider = provider();
    let base = format!("http://{}", provider.addr());
    let config = format!(
        "[[provider]]\nid = \"classic\"\nbase_url = \"{base}/openai/deployments/{{model}}\"\nauth = \"api-key\"\n\
         env = \"AZURE_KEY\"\nquery = {{ api-version = \"2024-10-21\" }}\n{}",
        model("classic", "my-deployment")
    );
    let gateway = Setup::new().config(&config).environment("AZURE_KEY", "sesame").start();
    let answer = ask(&gateway);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(last_field(&provider, "api-key").as_deref(), Some("sesame"));
    let head = String::from_utf8_lossy(&provider.recorded()[0].head).into_owned();
    let line = "POST /openai/deployments/my-deployment/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
}

#[test]
fn what_is_missing_is_said_without_secrets() {
    let config = "[[provider]]\nid = \"v\"\nbase_url = \"http://127.0.0.1:1\"\nauth = \"google-oauth2\"\n\
                  env = \"GOOGLE_APPLICATION_CREDENTIALS\"\n\
                  [[provider]]\nid = \"a\"\nbase_url = \"http://127.0.0.1:1\"\nauth = \"aws-sigv4\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.json");
    std::fs::write(&path, r#"{"type":"service_account","private_key":"sesame"}"#).expect("written");
    let config = engine::config::Config::parse(config, "x.toml").expect("a good configuration");
    let mut builder = engine::snapshot::Builder::new(&config).expect("roots");
    let catalogue = config.catalogue().expect("a good catalogue");
    let secret =
        |name: &str| (name == "GOOGLE_APPLICATION_CREDENTIALS").then(|| path.display().to_string());
    let (_, states) = builder.build(&config, catalogue, secret).expect("a snapshot");
    let of = |id: &str| {
        let state = states.iter().find(|(provider, _)| provider == id).map(|(_, state)| state);
        format!("{:?}", state.expect("a state"))
    };
    assert!(of("v").contains("BadFile") && of("v").contains("PEM"), "{}", of("v"));
    assert!(of("a").contains("NoKey") && of("a").contains("AWS_ACCESS_KEY_ID"), "{}", of("a"));
    assert!(!of("v").contains("sesame"), "{}", of("v"));
}
