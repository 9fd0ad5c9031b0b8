//! The response object around an answer: what of it does not depend on what the model said.
//!
//! In: a request, and what a client is shown. Out: a `response` object in any of its states. The
//! client's instructions and tools are not repeated to it: OpenAI does so three times in a stream, and
//! no client reads them.

use super::usage;
use crate::chat::{Finish, Format, Request, Shown, ToolChoice};
use crate::json::write::{Array, Object};
use crate::refusal::Refusal;
use models::Usage;

/// The object, ready but for its state.
pub(super) struct Echo {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// How far a response is.
pub(super) enum State<'s> {
    InProgress,
    Ended(Finish),
    Failed(&'s Refusal),
}

impl Echo {
    pub(super) fn new(request: &Request<'_>, shown: &Shown<'_>) -> Echo {
        let mut head = Vec::with_capacity(128);
        let mut object = Object::begin(&mut head);
        object.text("id", &format!("resp_{}", shown.id)).text("object", "response");
        object.number("created_at", shown.created_s);
        let mut tail = Vec::with_capacity(512);
        let mut object = Object::begin(&mut tail);
        object.text("model", shown.model).raw("instructions", "null");
        match request.max_output {
            Some(limit) => object.number("max_output_tokens", limit.into()),
            None => object.raw("max_output_tokens", "null"),
        };
        match &request.metadata {
            Some(metadata) => object.raw("metadata", metadata),
            None => object.raw("metadata", "{}"),
        };
        object.bool("parallel_tool_calls", request.parallel_calls.unwrap_or(true));
        object.raw("previous_response_id", "null").bool("store", false);
        let sampling = &request.sampling;
        object.raw("temperature", sampling.temperature.unwrap_or("null"));
        object.raw("top_p", sampling.top_p.unwrap_or("null"));
        object.object("reasoning", |reasoning| {
            match request.thinking.effort {
                Some(effort) => reasoning.text("effort", effort.name()),
                None => reasoning.raw("effort", "null"),
            };
            reasoning.raw("summary", "null");
        });
        object.object("text", |text| {
            text.object("format", |format| write_format(&request.format, format));
        });
        let choice = match &request.tool_choice {
            ToolChoice::Unset | ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => {
                "auto"
            }
            ToolChoice::None => "none",
            ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { .. } => "required",
        };
        object.text("tool_choice", choice).raw("tools", "[]").text("truncation", "disabled");
        Echo { head, tail }
    }

    /// Appends the object. `output` writes the elements of its output.
    pub(super) fn write(
        &self,
        state: &State<'_>,
        output: impl FnOnce(&mut Array<'_>),
        usage: Option<&Usage>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&self.head);
        let mut object = Object::resume(out);
        object.text("status", status(state));
        match state {
            State::Failed(refusal) => write_error(refusal, &mut object),
            _ => drop(object.raw("error", "null")),
        }
        let incomplete = match state {
            State::Ended(Finish::Length | Finish::Context) => Some("max_output_tokens"),
            State::Ended(Finish::Filter) => Some("content_filter"),
            _ => None,
        };
        match incomplete {
            Some(reason) => {
                object.object("incomplete_details", |details| {
                    details.text("reason", reason);
                });
            }
            None => drop(object.raw("incomplete_details", "null")),
        }
        object.array("output", output);
        match usage {
            Some(usage) => usage::write(usage, object.key("usage")),
            None => drop(object.raw("usage", "null")),
        }
        // Behind the brace of the tail follow its members.
        out.push(b',');
        out.extend_from_slice(&self.tail[1..]);
        out.push(b'}');
    }
}

fn status(state: &State<'_>) -> &'static str {
    match state {
        State::InProgress => "in_progress",
        State::Ended(Finish::Length | Finish::Context | Finish::Filter) => "incomplete",
        State::Ended(_) => "completed",
        State::Failed(_) => "failed",
    }
}

/// The name of the event that ends a stream with `why`.
pub(super) fn end_event(why: Finish) -> &'static str {
    match status(&State::Ended(why)) {
        "incomplete" => "response.incomplete",
        _ => "response.completed",
    }
}

/// Writes why a response failed.
pub(super) fn write_error(refusal: &Refusal, response: &mut Object<'_>) {
    response.object("error", |error| {
        error.text("code", refusal.kind.code()).text("message", &refusal.message);
    });
}

/// Writes the members of a format.
pub(super) fn write_format(format: &Format<'_>, object: &mut Object<'_>) {
    match format {
        Format::Text => drop(object.text("type", "text")),
        Format::Json => drop(object.text("type", "json_object")),
        Format::Schema { name, description, schema, strict } => {
            object.text("type", "json_schema");
            match name {
                Some(name) => name.write(object.key("name")),
                None => drop(object.text("name", "answer")),
            }
            if let Some(description) = description {
                description.write(object.key("description"));
            }
            object.raw("schema", schema);
            if let Some(strict) = strict {
                object.bool("strict", *strict);
            }
        }
    }
}
