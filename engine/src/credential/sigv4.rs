//! AWS signature version 4 over the requests to one endpoint: `POST`, a host, a body of JSON.
//!
//! In: an access key and the pieces of a request. Out: the fields `x-amz-date`, `authorization` and, for
//! a temporary key, `x-amz-security-token`. The rules are AWS's own ("Create a signed AWS API request");
//! the primitives are ring's. Never: I/O, a clock, or the secret key in a message.

use arc_swap::ArcSwapOption;
use ring::{digest, hmac};
use std::fmt::Write;
use std::sync::Arc;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The type of every body that we send, which is signed with it.
const CONTENT_TYPE: &str = "application/json";

/// Signs requests to one host.
pub struct Signer {
    access_key: String,
    secret_key: String,
    /// Of temporary keys.
    session_token: Option<String>,
    region: String,
    service: &'static str,
    host: String,
    /// The key of a day, which is derived in four steps, with that day.
    of_day: ArcSwapOption<(String, hmac::Key)>,
}

impl Signer {
    /// A signer for `service` at `host`, which is as the `Host` field has it.
    pub fn new(
        (access_key, secret_key): (String, String),
        session_token: Option<String>,
        region: String,
        service: &'static str,
        host: String,
    ) -> Signer {
        let of_day = ArcSwapOption::empty();
        Signer { access_key, secret_key, session_token, region, service, host, of_day }
    }

    /// The region that the name of an AWS host tells: `bedrock-runtime.eu-central-1.amazonaws.com`.
    pub fn region_of(host: &str) -> Option<&str> {
        let own = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".api.aws"))?;
        own.rsplit_once('.').map(|(_, region)| region).filter(|region| region.contains('-'))
    }

    /// The fields that sign a request, each with its line end.
    pub fn lines(&self, path: &str, body: &[&[u8]], now: i64) -> String {
        let time = time_of(now);
        let mut fields = vec![
            ("content-type", CONTENT_TYPE),
            ("host", self.host.as_str()),
            ("x-amz-date", time.as_str()),
        ];
        if let Some(token) = &self.session_token {
            fields.push(("x-amz-security-token", token));
        }
        let signature = self.signature("POST", path, &fields, body, &time);
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let mut lines = format!(
            "x-amz-date: {time}\r\nauthorization: {ALGORITHM} Credential={}/{}, SignedHeaders={}, \
             Signature={signature}\r\n",
            self.access_key,
            self.scope(&time),
            names.join(";"),
        );
        if let Some(token) = &self.session_token {
            // Writing to a string does not fail.
            let _ = write!(lines, "x-amz-security-token: {token}\r\n");
        }
        lines
    }

    /// The signature of a request. `fields` are in the order of their names, which are in lower case.
    fn signature(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[&[u8]],
        time: &str,
    ) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut canonical = format!("{method}\n");
        for byte in path.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
            // What is encoded in the path already is encoded once more, by AWS's rule.
            let _ = match plain {
                true => write!(canonical, "{}", char::from(byte)),
                false => write!(canonical, "%{byte:02X}"),
            };
        }
        let mut parameters: Vec<&str> = query.split('&').filter(|p| !p.is_empty()).collect();
        parameters.sort_unstable();
        let _ = write!(canonical, "\n{}\n", parameters.join("&"));
        for (name, value) in fields {
            let _ = writeln!(canonical, "{name}:{}", value.trim());
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let mut hash = digest::Context::new(&digest::SHA256);
        body.iter().for_each(|piece| hash.update(piece));
        let _ = write!(canonical, "\n{}\n{}", names.join(";"), hex(hash.finish().as_ref()));

        let hashed = digest::digest(&digest::SHA256, canonical.as_bytes());
        let text = format!("{ALGORITHM}\n{time}\n{}\n{}", self.scope(time), hex(hashed.as_ref()));
        hex(hmac::sign(&self.key_of(day_of(time)), text.as_bytes()).as_ref())
    }

    fn scope(&self, time: &str) -> String {
        format!("{}/{}/{}/aws4_request", day_of(time), self.region, self.service)
    }

    fn key_of(&self, day: &str) -> hmac::Key {
        if let Some(known) = self.of_day.load().as_deref().filter(|(known, _)| known == day) {
            return known.1.clone();
        }
        let first = format!("AWS4{}", self.secret_key).into_bytes();
        let steps = [day, &self.region, self.service, "aws4_request"];
        let key = steps.iter().fold(hmac::Key::new(hmac::HMAC_SHA256, &first), |key, step| {
            let next = hmac::sign(&key, step.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, next.as_ref())
        });
        self.of_day.store(Some(Arc::new((day.to_owned(), key.clone()))));
        key
    }
}

/// `20261121T020304Z`.
fn time_of(now: i64) -> String {
    let time = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn day_of(time: &str) -> &str {
    time.split('T').next().unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of AWS's published examples.
    fn signer(token: Option<&str>, region: &str, service: &'static str, host: &str) -> Signer {
        let keys = ("AKIDEXAMPLE".into(), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into());
        Signer::new(keys, token.map(str::to_owned), region.into(), service, host.into())
    }

    /// Rows of AWS's published test suite: `get-vanilla`, `post-vanilla`,
    /// `get-vanilla-query-order-key-case` and `post-x-www-form-urlencoded`.
    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let time = "20150830T123600Z";
        let (host, date) = (("host", "example.amazonaws.com"), ("x-amz-date", time));
        let form = ("content-type", "application/x-www-form-urlencoded");
        type Row<'r> = (&'r str, &'r str, Vec<(&'r str, &'r str)>, &'r [u8], &'r str);
        let rows: [Row<'_>; 4] = [
            (
                "GET",
                "/",
                vec![host, date],
                b"",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "POST",
                "/",
                vec![host, date],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                vec![host, date],
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "/",
                vec![form, host, date],
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        let signer = signer(None, "us-east-1", "service", "example.amazonaws.com");
        for (method, target, fields, body, expected) in rows {
            let found = signer.signature(method, target, &fields, &[body], time);
            assert_eq!(found, expected, "{method} {target}");
        }
    }

    /// Requests of ours, as AWS's own library for Python (botocore 1.44) signs them.
    #[test]
    fn our_requests_are_signed_as_botocore_signs_them() {
        let host = "bedrock-runtime.eu-central-1.amazonaws.com";
        let now = "2026-11-21T02:03:04Z".parse::<jiff::Timestamp>().unwrap().as_second();
        let plain = signer(None, "eu-central-1", "bedrock", host);
        let body: [&[u8]; 2] = [br#"{"model":"openai.gpt-oss-20b-1:0","#, br#""messages":[]}"#];
        assert_eq!(
            plain.lines("/openai/v1/chat/completions", &body, now),
            "x-amz-date: 20261121T020304Z\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20261121/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=766f378847acee6fe08c16f554e56b63d24a96278f409307643901a9b4b31893\r\n"
        );
        let temporary = signer(Some("AQoEXAMPLE//token+="), "eu-central-1", "bedrock", host);
        let lines = temporary.lines("/model/anthropic.claude-v1:0/converse", &[b"{}"], now);
        let signature = "cc97b79884f61fb0206b9f69cf5f34e20e70a6833a3ad714c8f3f6b13f1b865d";
        assert!(lines.contains(signature), "{lines}");
        assert!(lines.ends_with("x-amz-security-token: AQoEXAMPLE//token+=\r\n"), "{lines}");
        // The next day has a key of its own, and the first day's can be made again.
        let tomorrow = plain.lines("/", &[], now + 86_400);
        assert_ne!(tomorrow, plain.lines("/", &[], now));
        assert_eq!(tomorrow, plain.lines("/", &[], now + 86_400));
    }

    #[test]
    fn hosts_tell_their_region() {
        for (host, region) in [
            ("bedrock-runtime.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("bedrock-mantle.us-east-1.api.aws", Some("us-east-1")),
            ("127.0.0.1:80", None),
            ("amazonaws.com", None),
            ("bedrock.amazonaws.com", None),
        ] {
            assert_eq!(Signer::region_of(host), region, "{host}");
        }
    }
}
