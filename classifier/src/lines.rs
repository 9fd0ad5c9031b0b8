//! JSON lines in, JSON lines out: the stable form for evaluating a classifier from outside.
//!
//! In: `{"id", "text"}` or `{"id", "messages", "tools", "response_format"}`. Out: `{"id", "task",
//! "probs", "difficulty", "domain", "sensitive", "kinds", "output_tokens", "output_spread", "confidence",
//! "stage", "micros"}`, or `{"id", "error"}`. For commands, not for the hot path: it allocates.

use serde_json::{Value, json};

use crate::{Classified, CoreClassifier, Excerpt, Input, Kind, Structure};

/// Classifies one line; a line that cannot be read gives `{"id", "error"}`.
pub fn classify_line(core: &mut CoreClassifier, excerpt: &mut Excerpt, line: &str) -> String {
    let request: Value = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => return json!({ "id": null, "error": error.to_string() }).to_string(),
    };
    let answer = match classify_value(core, excerpt, &request) {
        Ok(classified) => answer(&classified, &request["id"]),
        Err(what) => json!({ "id": request["id"], "error": what }),
    };
    answer.to_string()
}

/// Classifies a request that is parsed already; an error says what it lacks.
pub fn classify_value(
    core: &mut CoreClassifier,
    excerpt: &mut Excerpt,
    request: &Value,
) -> Result<Classified, &'static str> {
    let conversation = Conversation::read(request)?;
    let text = excerpt.build_parts(conversation.system, &conversation.last_user);
    Ok(core.classify(&Input { text, structure: conversation.structure }))
}

fn answer(classified: &Classified, id: &Value) -> Value {
    let verdict = classified.verdict;
    let probs: serde_json::Map<String, Value> = models::Task::ALL
        .into_iter()
        .zip(classified.probs)
        .map(|(task, prob)| (task.name().to_owned(), json!(prob)))
        .collect();
    let kinds: serde_json::Map<String, Value> = Kind::ALL
        .into_iter()
        .zip(classified.kinds)
        .map(|(kind, prob)| (kind.name().to_owned(), json!(prob)))
        .collect();
    json!({
        "id": id,
        "task": verdict.task.name(),
        "probs": probs,
        "difficulty": verdict.difficulty,
        "domain": classified.domain.name(),
        "sensitive": verdict.sensitivity,
        "kinds": kinds,
        "output_tokens": verdict.output_tokens,
        "output_spread": classified.spread,
        "confidence": verdict.confidence,
        "stage": classified.stage.name(),
        "micros": classified.micros,
    })
}

/// What is looked at of a request.
struct Conversation<'a> {
    system: Option<&'a str>,
    last_user: Vec<&'a str>,
    structure: Structure,
}

impl<'a> Conversation<'a> {
    fn read(request: &'a Value) -> Result<Conversation<'a>, &'static str> {
        let mut conversation = Conversation {
            system: None,
            last_user: Vec::new(),
            structure: Structure {
                has_tools: request["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
                json_schema: request["response_format"]["type"] == "json_schema",
                ..Structure::default()
            },
        };
        if let Some(text) = request["text"].as_str() {
            conversation.structure.total_chars = text.len() as u32;
            conversation.structure.turns = 1;
            conversation.last_user.push(text);
            return Ok(conversation);
        }
        let messages = request["messages"]
            .as_array()
            .ok_or("neither \"text\" (a string) nor \"messages\" (an array) is there")?;
        for message in messages {
            conversation.message(message)?;
        }
        Ok(conversation)
    }

    fn message(&mut self, message: &'a Value) -> Result<(), &'static str> {
        let mut texts = Vec::new();
        let (mut images, mut audio) = (0, 0);
        match &message["content"] {
            Value::String(text) => texts.push(text.as_str()),
            Value::Array(parts) => {
                for part in parts {
                    match part["type"].as_str() {
                        Some("text" | "input_text") => texts.extend(part["text"].as_str()),
                        Some("image_url" | "input_image" | "image") => images += 1,
                        Some("input_audio" | "audio" | "file" | "video") => audio += 1,
                        _ => {}
                    }
                }
            }
            Value::Null => {}
            _ => return Err("\"content\" must be a string, an array of parts, or null"),
        }
        let structure = &mut self.structure;
        let chars: usize = texts.iter().map(|text| text.len()).sum();
        structure.total_chars = structure.total_chars.saturating_add(chars as u32);
        match message["role"].as_str() {
            Some("system" | "developer") => {
                structure.system_chars = structure.system_chars.saturating_add(chars as u32);
                self.system = self.system.or(texts.first().copied());
            }
            Some("user") => {
                structure.turns += 1;
                structure.tool_results = 0;
                (structure.images, structure.audio) = (images, audio);
                self.last_user = texts;
            }
            Some("assistant") => structure.turns += 1,
            Some("tool" | "function") => structure.tool_results += 1,
            _ => return Err("\"role\" must be system, developer, user, assistant or tool"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(line: &str) -> Value {
        let mut core = CoreClassifier::rules_only();
        let answer = classify_line(&mut core, &mut Excerpt::default(), line);
        serde_json::from_str(&answer).expect("JSON")
    }

    #[test]
    fn text_and_messages_are_read() {
        for (line, task, stage) in [
            (r#"{"id":1,"text":"Summarize this thread"}"#, "summarization", "rules"),
            (
                r#"{"id":1,"messages":[{"role":"user","content":"Translate into German"}]}"#,
                "translation",
                "rules",
            ),
            (
                r#"{"id":1,"messages":[{"role":"system","content":"Translate into French."},
                   {"role":"user","content":[{"type":"text","text":"where is the station"}]}]}"#,
                "translation",
                "rules",
            ),
            (
                r#"{"id":1,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
                "multimodal",
                "structure",
            ),
            (
                r#"{"id":1,"tools":[{}],"messages":[{"role":"user","content":"go"},{"role":"assistant","content":null},
                   {"role":"tool","content":"done"}]}"#,
                "agent_tool_use",
                "structure",
            ),
        ] {
            let answer = answer_to(line);
            assert_eq!(
                (&answer["task"], &answer["stage"]),
                (&json!(task), &json!(stage)),
                "{line}"
            );
            assert_eq!(answer["id"], 1);
            assert_eq!(answer["probs"].as_object().map(|probs| probs.len()), Some(17));
        }
    }

    #[test]
    fn the_members_of_an_answer_stay() {
        let answer =
            answer_to(r#"{"id":"a","text":"Translate into German: card 4111 1111 1111 1111"}"#);
        let mut members: Vec<&str> =
            answer.as_object().expect("an object").keys().map(String::as_str).collect();
        members.sort_unstable();
        let expected = [
            "confidence",
            "difficulty",
            "domain",
            "id",
            "kinds",
            "micros",
            "output_spread",
            "output_tokens",
            "probs",
            "sensitive",
            "stage",
            "task",
        ];
        assert_eq!(members, expected);
        for member in ["confidence", "difficulty", "micros", "output_tokens", "sensitive"] {
            assert!(answer[member].is_number(), "{member}");
        }
        assert_eq!((&answer["id"], &answer["domain"]), (&json!("a"), &json!("other")));
        assert!(answer["sensitive"].as_f64() > Some(0.9));
    }

    #[test]
    fn a_bad_line_is_an_answer_too() {
        for (line, named) in [
            ("{", "EOF"),
            (r#"{"id":7}"#, "messages"),
            (r#"{"id":7,"messages":[{"role":"pilot","content":"x"}]}"#, "role"),
            (r#"{"id":7,"messages":[{"role":"user","content":7}]}"#, "content"),
        ] {
            let error = answer_to(line)["error"].as_str().expect("an error").to_owned();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
