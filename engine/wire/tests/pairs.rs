//! Random conversations through every pair of dialects: text, calls and results arrive once each, in
//! order, and results still lead to their calls.

use models::catalogue::{MaxTokensField, Quirks, ThinkingFormat};
use models::{Capabilities, Dialect};
use proptest::prelude::*;
use wire::chat::{
    Call, CallResult, Chat, Efforts, Input, Issuer, Json, Part, Request, Role, Str, Target, Tool,
    ToolInput, Turn,
};
use wire::dialect::CHATS;

fn target(dialect: Dialect) -> Target<'static> {
    let quirks = Quirks {
        max_tokens_field: MaxTokensField::MaxTokens,
        developer_role: true,
        usage_in_stream: true,
        cached_tokens_reported: false,
        strict_schema: true,
        store: false,
        sampling_params: true,
        reasoning_effort: true,
        needs_reasoning_back: false,
        adaptive_thinking: true,
        system_anywhere: true,
        long_cache: false,
        session_affinity: false,
        reasoning_apart: false,
        thinking: ThinkingFormat::Openai,
    };
    Target {
        model: "m",
        issuer: Issuer::of(dialect, "p"),
        quirks,
        caps: Capabilities(u32::MAX),
        max_output: 1_000,
        efforts: Efforts::default(),
    }
}

/// One exchange: what the user says, what the model says, and its calls with their results.
#[derive(Clone, Debug)]
struct Round {
    question: String,
    answer: String,
    calls: Vec<(String, String)>,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    // Anything that a person may type, white space at its ends included, but never nothing.
    let text = || "[a-zé\"\\\\\n 👋{}\\[\\]]{0,20}x";
    let call = (text(), text());
    let calls = prop::collection::vec(call, 0..4);
    let round = (text(), text(), calls).prop_map(|(question, answer, calls)| Round {
        question,
        answer,
        calls,
    });
    prop::collection::vec(round, 1..5)
}

fn request(rounds: &[Round]) -> Request<'static> {
    let text = |text: &str| Part::Text(Str::from_text(text));
    let mut turns = Vec::new();
    let turn = |role, parts| Turn { role, parts, name: None, index: 0 };
    let mut count = 0;
    for round in rounds {
        turns.push(turn(Role::User, vec![text(&round.question)]));
        let mut said = vec![text(&round.answer)];
        let mut results = Vec::new();
        for (argument, result) in &round.calls {
            let id = Str::from_text(&format!("call_{count}"));
            count += 1;
            let object = serde_json::json!({ "a": argument }).to_string();
            said.push(Part::Call(Call {
                id: id.clone(),
                name: Str::plain("tool"),
                namespace: None,
                input: Input::Object(Json::checked(object.into_bytes())),
                state: None,
            }));
            let parts = vec![text(result)];
            results.push(Part::Result(CallResult { id, parts, is_error: false }));
        }
        turns.push(turn(Role::Assistant, said));
        if !results.is_empty() {
            turns.push(turn(Role::User, results));
        }
    }
    turns.push(turn(Role::User, vec![text("and now?")]));
    let tool = Tool {
        name: Str::plain("tool"),
        namespace: None,
        description: None,
        input: ToolInput::Schema(None),
        strict: None,
        cache: None,
    };
    Request { turns, tools: vec![tool], ..Request::default() }
}

/// Everything that was said, in order, with what leads where.
fn said(request: &Request<'_>) -> Vec<String> {
    let mut said = Vec::new();
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        match part {
            Part::Text(text) => said.push(text.text().into_owned()),
            Part::Call(call) => {
                let object = call.input.object();
                let object: serde_json::Value = serde_json::from_slice(&object).expect("JSON");
                said.push(format!("{} {} {object}", call.id.text(), call.name.text()));
            }
            Part::Result(result) => {
                let parts: Vec<_> = result.parts.iter().map(|part| format!("{part:?}")).collect();
                said.push(format!("{} gave {}", result.id.text(), parts.concat()));
            }
            other => panic!("{other:?} was never said"),
        }
    }
    said
}

fn through<'o>(request: &Request<'_>, chat: &dyn Chat, out: &'o mut Vec<u8>) -> Request<'o> {
    let dropped = chat.provider_request(request, &target(chat.dialect()), out).expect("it fits");
    assert!(dropped.is_empty(), "{}", dropped.header());
    // A provider's body is one that a client of the same dialect may send.
    chat.neutral_request(out).unwrap_or_else(|refusal| panic!("{}", refusal.message))
}

proptest! {
    #[test]
    fn no_call_and_no_result_is_lost_or_doubled(rounds in rounds()) {
        let request = request(&rounds);
        for first in CHATS {
            let mut out = Vec::new();
            let once = through(&request, *first, &mut out);
            prop_assert_eq!(said(&once), said(&request), "through {}", first.dialect());
            for second in CHATS {
                let mut out = Vec::new();
                let twice = through(&once, *second, &mut out);
                let way = format!("through {} and {}", first.dialect(), second.dialect());
                prop_assert_eq!(said(&twice), said(&request), "{}", way);
            }
        }
    }

    /// Bodies that a client may have made up end in a request or a refusal that names a place.
    #[test]
    fn no_body_does_harm(
        body in "[\\{\\[]{0,3}\"(messages|input|contents|system|tools|content|role|parts)\":[\\{\\[\"a-z0-9:,\\}\\]]{0,60}",
    ) {
        for chat in CHATS {
            if let Err(refusal) = chat.neutral_request(body.as_bytes()) {
                prop_assert_eq!(refusal.status, 400);
            }
        }
    }
}
