//! Google's OAuth tokens for the account in a credentials file: a service account's key, or a user's
//! refresh token (`gcloud auth application-default login`).
//!
//! In: the file's JSON. Out: tokens, by RFC 7523 (a signed assertion) or RFC 6749 section 6. Signing is
//! ring's. Never: a credential in a message, or one sent where TLS does not protect it.

use super::fetch;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::ClientConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use std::sync::Arc;

/// What a token is to be good for: all of Google Cloud that the account may use.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion is good, in seconds; Google takes no more.
const ASSERTION_S: i64 = 3_600;

/// An account that can get tokens.
pub struct Account {
    token_uri: String,
    grant: Grant,
}

enum Grant {
    Service { email: String, key_id: Option<String>, key: Box<RsaKeyPair> },
    User { client_id: String, client_secret: String, refresh_token: String },
}

/// A token as it was fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Printable text without spaces.
    pub token: String,
    /// How long it is good, in seconds.
    pub life_s: i64,
}

/// The members of a credentials file that matter.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<i64>,
}

impl Account {
    /// Reads a credentials file's text. An error says which member is wrong and what would do, and
    /// never what it holds.
    pub fn read(text: &str) -> Result<Account, String> {
        let file: File = serde_json::from_str(text)
            .map_err(|error| format!("is no credentials file: line {}", error.line()))?;
        let needed = |member: Option<String>, name: &str| {
            member.filter(|text| !text.is_empty()).ok_or_else(|| format!("lacks \"{name}\""))
        };
        let grant = match file.kind.as_str() {
            "service_account" => {
                let pem = needed(file.private_key, "private_key")?;
                let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
                    .map_err(|_| "\"private_key\" is no PKCS8 key in PEM".to_owned())?;
                let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
                    .map_err(|_| "\"private_key\" is no RSA key that can be used".to_owned())?;
                let key = Box::new(key);
                let email = needed(file.client_email, "client_email")?;
                Grant::Service { email, key_id: file.private_key_id, key }
            }
            "authorized_user" => Grant::User {
                client_id: needed(file.client_id, "client_id")?,
                client_secret: needed(file.client_secret, "client_secret")?,
                refresh_token: needed(file.refresh_token, "refresh_token")?,
            },
            other => {
                let other = wire::refusal::shown(other);
                return Err(format!(
                    "is of type \"{other}\"; \"service_account\" or \"authorized_user\" would do"
                ));
            }
        };
        let token_uri =
            file.token_uri.unwrap_or_else(|| "https://oauth2.googleapis.com/token".to_owned());
        fetch::check(&token_uri).map_err(|why| format!("\"token_uri\" {why}"))?;
        Ok(Account { token_uri, grant })
    }

    /// Where tokens come from.
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// Fetches a token; blocks. `now` in seconds of Unix time.
    pub fn fetch(&self, tls: &Arc<ClientConfig>, now: i64) -> Result<Fetched, String> {
        let form = match &self.grant {
            Grant::Service { .. } => form(&[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &self.assertion(now)?),
            ]),
            Grant::User { client_id, client_secret, refresh_token } => form(&[
                ("grant_type", "refresh_token"),
                ("client_id", client_id),
                ("client_secret", client_secret),
                ("refresh_token", refresh_token),
            ]),
        };
        let kind = "application/x-www-form-urlencoded";
        let (status, body) = fetch::post(tls, &self.token_uri, kind, form.as_bytes())
            .map_err(|error| error.to_string())?;
        granted(status, &body)
    }

    /// What a service account says of itself, signed with its key (RFC 7523).
    fn assertion(&self, now: i64) -> Result<String, String> {
        let Grant::Service { email, key_id, key } = &self.grant else {
            return Err("the account has no key".to_owned());
        };
        let header = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": key_id});
        let claims = serde_json::json!({
            "iss": email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + ASSERTION_S,
        });
        let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the assertion could not be signed".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn granted(status: u16, body: &[u8]) -> Result<Fetched, String> {
    if status != 200 {
        // `invalid_grant` and the like; a description may quote what was sent.
        let code = serde_json::from_slice::<serde_json::Value>(body).ok();
        let code = code.as_ref().and_then(|body| body["error"].as_str()).unwrap_or("no reason");
        return Err(format!("status {status}, {}", wire::refusal::shown(code)));
    }
    let granted: Granted =
        serde_json::from_slice(body).map_err(|_| "the answer holds no token".to_owned())?;
    let fits = |byte: u8| byte.is_ascii_graphic();
    if granted.access_token.is_empty() || !granted.access_token.bytes().all(fits) {
        return Err("the answer holds no token that fits into a header".to_owned());
    }
    Ok(Fetched { token: granted.access_token, life_s: granted.expires_in.unwrap_or(ASSERTION_S) })
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                true => form.push(char::from(byte)),
                false => form.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::{Value, json};

    /// A key that was made for this test and opens nothing.
    const KEY: &str = include_str!("testdata/rsa.pem");

    fn service() -> Value {
        json!({
            "type": "service_account", "client_email": "a@b.example", "private_key": KEY,
            "private_key_id": "7", "token_uri": "https://127.0.0.1:1/token",
        })
    }

    #[test]
    fn an_assertion_says_who_asks_for_what_and_is_signed() {
        let account = Account::read(&service().to_string()).unwrap();
        let assertion = account.assertion(1_000).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let parts: Vec<Value> = signed
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .map(|part| serde_json::from_slice(&part).unwrap())
            .collect();
        assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "7"}));
        let expected = json!({
            "iss": "a@b.example", "scope": SCOPE, "aud": "https://127.0.0.1:1/token",
            "iat": 1_000, "exp": 4_600,
        });
        assert_eq!(parts[1], expected);
        let Grant::Service { key, .. } = &account.grant else { panic!("a service account") };
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(signed.as_bytes(), &signature).expect("the signature is good");
    }

    /// One row per mistake: the member, its value, and a word of the error.
    #[test]
    fn errors_name_the_member_and_tell_no_secret() {
        let rows = [
            ("type", json!("external_account"), "service_account"),
            ("private_key", json!(null), "private_key"),
            ("private_key", json!("sesame"), "PEM"),
            ("client_email", json!(""), "client_email"),
            ("token_uri", json!("http://example.com/token"), "token_uri"),
        ];
        for (member, value, word) in rows {
            let mut file = service();
            file[member] = value;
            let error = Account::read(&file.to_string()).err().expect(member);
            assert!(error.contains(word) && !error.contains("sesame"), "{member}: {error}");
        }
        assert!(Account::read("secret").err().is_some_and(|error| !error.contains("secret")));
    }

    #[test]
    fn answers_are_tokens_or_errors() {
        let good = granted(200, br#"{"access_token":"ya29.x","expires_in":3599}"#);
        assert_eq!(good, Ok(Fetched { token: "ya29.x".into(), life_s: 3599 }));
        for (status, body) in [
            (400, r#"{"error":"invalid_grant","error_description":"who"}"#),
            (200, "{}"),
            (200, r#"{"access_token":""}"#),
            (200, r#"{"access_token":"a\r\nb"}"#),
            (502, "<html>"),
        ] {
            assert!(granted(status, body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(form(&[("a", "b+c/d="), ("e", "f")]), "a=b%2Bc%2Fd%3D&e=f");
    }
}
