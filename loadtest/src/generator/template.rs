//! Requests, rendered once before a run so that sending one is a write and nothing else.
//!
//! In: what to ask for. Out: complete HTTP requests. Sizes are bytes of the JSON body.

use serde_json::{Value, json};

/// What requests ask.
#[derive(Clone, Debug)]
pub enum Body {
    /// A body of exactly this many bytes, or of the least that it takes.
    Sized(usize),
    /// One body per prompt, taken in turn.
    Prompts(Vec<String>),
    /// These very bytes.
    Raw(Vec<u8>),
}

/// Everything about a request but where it goes.
#[derive(Clone, Debug)]
pub struct Template {
    /// Path, with the query if there is one.
    pub path: String,
    /// Model asked for.
    pub model: String,
    /// Ask for a stream.
    pub stream: bool,
    /// Ask for the usage at its end.
    pub include_usage: bool,
    /// What is asked.
    pub body: Body,
    /// Instructions for the fake provider, sent as `x_script`.
    pub script: Option<Value>,
    /// Key, sent as `Authorization: Bearer`.
    pub key: Option<String>,
    /// Further fields, as name and value.
    pub headers: Vec<(String, String)>,
}

impl Default for Template {
    fn default() -> Template {
        Template {
            path: "/v1/chat/completions".to_owned(),
            model: "fake-1".to_owned(),
            stream: false,
            include_usage: false,
            body: Body::Sized(1024),
            script: None,
            key: None,
            headers: Vec::new(),
        }
    }
}

impl Template {
    /// All requests, for a target named `host`. Errors say which field cannot be sent.
    pub(crate) fn render(&self, host: &str) -> Result<Vec<Vec<u8>>, String> {
        let fields = self.headers.iter().map(|(name, value)| (name, value));
        for (name, value) in fields {
            if name.is_empty() || [name, value].iter().any(|s| s.bytes().any(|b| b < 0x20)) {
                return Err(format!("header {name:?}: control characters cannot be sent"));
            }
        }
        let bodies = match &self.body {
            Body::Raw(bytes) => vec![bytes.clone()],
            Body::Sized(bytes) => vec![self.sized(*bytes)],
            Body::Prompts(prompts) if prompts.is_empty() => {
                return Err("prompts: the file has none".to_owned());
            }
            Body::Prompts(prompts) => prompts.iter().map(|p| self.json(p)).collect(),
        };
        Ok(bodies.iter().map(|body| self.request(host, body)).collect())
    }

    fn json(&self, prompt: &str) -> Vec<u8> {
        let mut body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt }],
        });
        if self.stream {
            body["stream"] = Value::Bool(true);
            if self.include_usage {
                body["stream_options"] = json!({ "include_usage": true });
            }
        }
        if let Some(script) = &self.script {
            body["x_script"] = script.clone();
        }
        body.to_string().into_bytes()
    }

    fn sized(&self, bytes: usize) -> Vec<u8> {
        let words = "Please tell me how the points of a railway are set, and why. ";
        let frame = self.json("").len();
        let text: String = words.chars().cycle().take(bytes.saturating_sub(frame)).collect();
        self.json(&text)
    }

    fn request(&self, host: &str, body: &[u8]) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Accept: */*\r\nUser-Agent: loadtest\r\n",
            self.path
        );
        if let Some(key) = &self.key {
            head.push_str(&format!("Authorization: Bearer {key}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        [head.as_bytes(), body].concat()
    }
}

/// Prompts from lines of JSON: the `text` or `prompt` of each, or its last user message.
pub fn prompts_from_jsonl(lines: &str) -> Result<Vec<String>, String> {
    let mut prompts = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let doc: Value = serde_json::from_str(line).map_err(|e| format!("line {number}: {e}"))?;
        let of_messages = || {
            let messages = doc["messages"].as_array()?;
            let last = messages.iter().rfind(|m| m["role"] == "user")?;
            last["content"].as_str()
        };
        let text = doc["text"].as_str().or_else(|| doc["prompt"].as_str());
        let Some(text) = text.or_else(of_messages) else {
            let wanted = "a text in \"text\", \"prompt\" or \"messages\" is needed";
            return Err(format!("line {number}: {wanted}"));
        };
        prompts.push(text.to_owned());
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_bodies_have_exactly_that_size() {
        for bytes in [1_024, 40 << 10, 400 << 10] {
            for stream in [false, true] {
                let template = Template { body: Body::Sized(bytes), stream, ..Template::default() };
                let request = template.render("h").expect("renders").remove(0);
                let text = String::from_utf8(request).expect("UTF-8");
                let (head, body) = text.split_once("\r\n\r\n").expect("a head");
                assert_eq!(body.len(), bytes);
                assert!(head.ends_with(&format!("Content-Length: {bytes}")));
                assert!(serde_json::from_str::<Value>(body).is_ok());
            }
        }
    }

    #[test]
    fn prompts_are_read_from_the_usual_forms() {
        let lines = "{\"text\":\"a\"}\n\n{\"prompt\":\"b\"}\n\
                     {\"messages\":[{\"role\":\"user\",\"content\":\"c\"}]}\n";
        assert_eq!(prompts_from_jsonl(lines), Ok(["a", "b", "c"].map(String::from).to_vec()));
        let error = prompts_from_jsonl("{\"text\":\"a\"}\n{}").expect_err("no text");
        assert!(error.starts_with("line 2"), "{error}");
    }
}
