//! A neutral request, written as a responses request for a provider.

use super::echo::write_format;
use crate::chat::names::flat_name;
use crate::chat::{
    CallResult, Dropped, Effort, Format, Input, Part, Request, Role, Sampling, Source, Str, Target,
    Thinking, Tool, ToolChoice, ToolInput, Turn,
};
use crate::json::write::{Array, Object};
use crate::refusal::Refusal;
use models::Capabilities;

/// The smallest output limit that OpenAI takes here.
const MAX_OUTPUT_MIN: u32 = 16;

/// Appends the request as `target` gets it.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    out: &mut Vec<u8>,
) -> Result<Dropped, Refusal> {
    let Request {
        stream,
        usage_in_stream: _,
        turns: _,
        turns_field: _,
        tools,
        tool_choice,
        parallel_calls,
        max_output,
        stop,
        sampling,
        alternatives: _,
        logprobs,
        format,
        thinking,
        verbosity,
        user,
        cache_key,
        cache,
        service_tier,
        metadata,
        unmapped,
    } = request;
    let mut dropped = unmapped.clone();
    let mut body = Object::begin(out);
    body.raw("model", [b"\"", target.model.as_bytes(), b"\""].concat());
    Items { request, target, dropped: &mut dropped }.write(&mut body)?;
    // What is not kept cannot be asked for again, so state has to come with the answer.
    body.bool("store", false);
    let mut include = Vec::new();
    if target.caps.covers(Capabilities::REASONING) {
        include.push("reasoning.encrypted_content");
    }
    if let Some(count) = logprobs {
        include.push("message.output_text.logprobs");
        body.number("top_logprobs", (*count).into());
    }
    if !include.is_empty() {
        body.array("include", |array| {
            include.iter().for_each(|name| crate::json::write_string(name, array.element()));
        });
    }
    if *stream {
        body.bool("stream", true);
    }
    if let Some(tokens) = max_output {
        body.number("max_output_tokens", (*tokens).max(MAX_OUTPUT_MIN).into());
    }
    write_sampling(sampling, target, &mut body, &mut dropped);
    if !tools.is_empty() {
        body.array("tools", |array| {
            for tool in tools {
                write_tool(tool, target, array, &mut dropped);
            }
        });
        write_choice(request, target, tool_choice, &mut body);
        if let Some(parallel) = parallel_calls {
            body.bool("parallel_tool_calls", *parallel);
        }
    }
    write_text(format, verbosity.as_ref(), target, &mut body, &mut dropped);
    write_thinking(thinking, target, &mut body, &mut dropped);
    if target.quirks.store {
        // Hints that only OpenAI itself takes, and nobody misses elsewhere.
        for (name, value) in [("prompt_cache_key", cache_key), ("user", user)] {
            if let Some(value) = value {
                value.write(body.key(name));
            }
        }
    }
    dropped.add_if(!stop.is_empty(), "stop");
    dropped.add_if(cache.is_some(), "cache_control");
    dropped.add_if(service_tier.is_some(), "service_tier");
    dropped.add_if(metadata.is_some(), "metadata");
    body.end();
    Ok(dropped)
}

/// Writes the input.
struct Items<'r, 'b> {
    request: &'r Request<'b>,
    target: &'r Target<'r>,
    dropped: &'r mut Dropped,
}

impl Items<'_, '_> {
    fn write(mut self, body: &mut Object<'_>) -> Result<(), Refusal> {
        let request = self.request;
        // Not under `instructions`, which some servers do not take.
        let mut array = Array::begin(body.key("input"));
        for turn in &request.turns {
            match turn.role {
                Role::System | Role::Developer => self.system(turn, &mut array),
                Role::User => self.user(turn, &mut array)?,
                Role::Assistant => self.assistant(turn, &mut array)?,
            }
        }
        array.end();
        Ok(())
    }

    fn system(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) {
        let role = match turn.role {
            Role::Developer if self.target.quirks.developer_role => "developer",
            _ => "system",
        };
        self.dropped.add_if(has_cache_point(&turn.parts), "cache_control");
        array.object(|message| {
            message.text("type", "message").text("role", role);
            joined(&turn.parts).write(message.key("content"));
        });
    }

    /// Results of calls first, then what the user says.
    fn user(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) -> Result<(), Refusal> {
        for part in &turn.parts {
            if let Part::Result(result) = part {
                self.result(turn, result, array)?;
            }
        }
        self.dropped.add_if(has_cache_point(&turn.parts), "cache_control");
        let is_said = |part: &&Part<'_>| {
            matches!(part, Part::Text(_) | Part::Image { .. } | Part::File { .. } | Part::Audio(_))
        };
        let said: Vec<&Part<'_>> = turn.parts.iter().filter(is_said).collect();
        if said.is_empty() && !turn.parts.is_empty() {
            return Ok(());
        }
        self.dropped.add_if(turn.name.is_some(), "messages.name");
        let mut failed = Ok(());
        array.object(|message| {
            message.text("type", "message").text("role", "user");
            message.array("content", |array| {
                failed = said.iter().try_for_each(|part| self.part(turn, part, array));
            });
        });
        failed
    }

    fn result(
        &mut self,
        turn: &Turn<'_>,
        result: &CallResult<'_>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let CallResult { id, parts, is_error } = result;
        self.dropped.add_if(*is_error, "tool_result.is_error");
        self.dropped.add_if(has_cache_point(parts), "cache_control");
        let is_free = self.called_free(id);
        let is_text = |part: &Part<'_>| matches!(part, Part::Text(_) | Part::CachePoint(_));
        let mut failed = Ok(());
        array.object(|item| {
            item.text(
                "type",
                if is_free { "custom_tool_call_output" } else { "function_call_output" },
            );
            id.write(item.key("call_id"));
            match parts.iter().all(is_text) {
                true => joined(parts).write(item.key("output")),
                false => {
                    item.array("output", |array| {
                        failed = parts.iter().try_for_each(|part| self.part(turn, part, array));
                    });
                }
            }
        });
        failed
    }

    /// Whether the call of that id was written as one with free text.
    fn called_free(&self, id: &Str<'_>) -> bool {
        takes_free(self.target)
            && self.request.turns.iter().flat_map(|turn| &turn.parts).any(|part| {
                matches!(part, Part::Call(call)
                    if call.id == *id && matches!(call.input, Input::Free(_)))
            })
    }

    fn part(
        &mut self,
        turn: &Turn<'_>,
        part: &Part<'_>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        match part {
            Part::Text(text) | Part::File { source: Source::Text(text), name: _ } => {
                array.object(|part| {
                    part.text("type", "input_text");
                    text.write(part.key("text"));
                });
            }
            Part::Image { source, detail } => {
                let (field, place) = self.place(turn, source, "image_url", "image_url")?;
                array.object(|part| {
                    part.text("type", "input_image");
                    place.write(part.key(field));
                    match detail {
                        Some(detail) => detail.write(part.key("detail")),
                        None => drop(part.text("detail", "auto")),
                    }
                });
            }
            Part::File { source, name } => {
                let (field, place) = self.place(turn, source, "file_url", "file_data")?;
                array.object(|part| {
                    part.text("type", "input_file");
                    match name {
                        Some(name) => name.write(part.key("filename")),
                        // Bytes without a name are refused.
                        None if field == "file_data" => {
                            part.text("filename", "document.pdf");
                        }
                        None => {}
                    }
                    place.write(part.key(field));
                });
            }
            Part::Audio(_) => {
                return Err(self.request.unfit(turn, "this provider takes no sound here"));
            }
            Part::Call(_)
            | Part::Result(_)
            | Part::Reasoning(_)
            | Part::Refusal(_)
            | Part::CachePoint(_) => {}
        }
        Ok(())
    }

    /// Under which name a source goes, and what stands there.
    fn place<'s>(
        &self,
        turn: &Turn<'_>,
        source: &'s Source<'_>,
        url: &'static str,
        bytes: &'static str,
    ) -> Result<(&'static str, Str<'s>), Refusal> {
        let unfit = || {
            self.request.unfit(turn, "what is named by file id stays with the provider of the file")
        };
        match source {
            Source::Id(issuer, id) if issuer.may_return_to(self.target.issuer) => {
                Ok(("file_id", id.borrowed()))
            }
            Source::Base64 { .. } => Ok((bytes, source.url().ok_or_else(unfit)?)),
            _ => Ok((url, source.url().ok_or_else(unfit)?)),
        }
    }

    fn assistant(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) -> Result<(), Refusal> {
        let mut parts = turn.parts.iter().enumerate().peekable();
        while let Some((at, part)) = parts.next() {
            match part {
                Part::Text(_) | Part::Refusal(_) => {
                    array.object(|item| {
                        item.text("type", "message").text("role", "assistant");
                        item.array("content", |array| {
                            let mut part = part;
                            loop {
                                array.object(|object| write_said(part, object));
                                let is_said = |(_, part): &(usize, &Part<'_>)| {
                                    matches!(part, Part::Text(_) | Part::Refusal(_))
                                };
                                match parts.next_if(is_said) {
                                    Some((_, next)) => part = next,
                                    None => break,
                                }
                            }
                        });
                    });
                }
                Part::Reasoning(block) => {
                    let state = block.state.as_ref().filter(|state| !state.data.is_empty());
                    // Reasoning without what it led to is refused.
                    let leads_on = turn.parts[at..].iter().any(|part| {
                        matches!(part, Part::Text(_) | Part::Refusal(_) | Part::Call(_))
                    });
                    match state {
                        Some(state)
                            if leads_on && state.issuer.may_return_to(self.target.issuer) =>
                        {
                            array.object(|item| {
                                item.text("type", "reasoning");
                                if !state.id.is_empty() {
                                    state.id.write(item.key("id"));
                                }
                                item.array("summary", |array| {
                                    if !block.text.is_empty() {
                                        array.object(|part| {
                                            part.text("type", "summary_text");
                                            block.text.write(part.key("text"));
                                        });
                                    }
                                });
                                state.data.write(item.key("encrypted_content"));
                            });
                        }
                        _ => drop(self.dropped.add_if(state.is_some(), "reasoning_state")),
                    }
                }
                Part::Call(call) => {
                    self.dropped.add_if(call.state.is_some(), "reasoning_state");
                    array.object(|item| match &call.input {
                        Input::Free(text) if takes_free(self.target) => {
                            item.text("type", "custom_tool_call");
                            call.id.write(item.key("call_id"));
                            flat_name(call.namespace.as_ref(), &call.name).write(item.key("name"));
                            text.write(item.key("input"));
                        }
                        input => {
                            item.text("type", "function_call");
                            call.id.write(item.key("call_id"));
                            flat_name(call.namespace.as_ref(), &call.name).write(item.key("name"));
                            input.text().write(item.key("arguments"));
                        }
                    });
                }
                Part::CachePoint(_) => self.dropped.add("cache_control"),
                Part::Image { .. } | Part::Audio(_) | Part::File { .. } => {
                    self.dropped.add("assistant.media");
                }
                Part::Result(_) => {}
            }
        }
        Ok(())
    }
}

fn write_said(part: &Part<'_>, object: &mut Object<'_>) {
    match part {
        Part::Refusal(text) => {
            object.text("type", "refusal");
            text.write(object.key("refusal"));
        }
        Part::Text(text) => {
            object.text("type", "output_text");
            text.write(object.key("text"));
        }
        _ => {}
    }
}

/// Whether tools with free text are known there; elsewhere they become functions with one text.
fn takes_free(target: &Target<'_>) -> bool {
    target.quirks.store
}

fn has_cache_point(parts: &[Part<'_>]) -> bool {
    parts.iter().any(|part| matches!(part, Part::CachePoint(_)))
}

/// All text of some parts as one.
fn joined<'p>(parts: &'p [Part<'_>]) -> Str<'p> {
    let mut texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) | Part::File { source: Source::Text(text), .. } => Some(text),
        _ => None,
    });
    let Some(first) = texts.next() else { return Str::EMPTY };
    let mut whole = first.borrowed();
    for text in texts {
        whole.push(&Str::escaped_from(super::items::PARAGRAPH));
        whole.push(text);
    }
    whole
}

fn write_sampling(
    sampling: &Sampling<'_>,
    target: &Target<'_>,
    body: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    let Sampling {
        temperature,
        top_p,
        top_k,
        presence_penalty,
        frequency_penalty,
        seed,
        logit_bias,
    } = sampling;
    for (name, value) in [("temperature", temperature), ("top_p", top_p)] {
        match value {
            Some(value) if target.quirks.sampling_params => drop(body.raw(name, value)),
            _ => drop(dropped.add_if(value.is_some(), name)),
        }
    }
    let without_place = [
        ("top_k", top_k.is_some()),
        ("presence_penalty", presence_penalty.is_some()),
        ("frequency_penalty", frequency_penalty.is_some()),
        ("seed", seed.is_some()),
        ("logit_bias", logit_bias.is_some()),
    ];
    for (name, is_given) in without_place {
        dropped.add_if(is_given, name);
    }
}

fn write_tool(tool: &Tool<'_>, target: &Target<'_>, array: &mut Array<'_>, dropped: &mut Dropped) {
    let Tool { name, namespace, description, input, strict, cache } = tool;
    dropped.add_if(cache.is_some(), "cache_control");
    let is_free = matches!(input, ToolInput::Free(_)) && takes_free(target);
    array.object(|object| {
        object.text("type", if is_free { "custom" } else { "function" });
        flat_name(namespace.as_ref(), name).write(object.key("name"));
        if let Some(description) = description {
            description.write(object.key("description"));
        }
        match input {
            ToolInput::Free(format) if is_free => {
                if let Some(format) = format {
                    object.raw("format", format);
                }
                return;
            }
            ToolInput::Free(_) => drop(object.raw("parameters", Tool::FREE_SCHEMA)),
            ToolInput::Schema(Some(schema)) => drop(object.raw("parameters", schema)),
            ToolInput::Schema(None) => {
                object.raw("parameters", "{\"type\":\"object\",\"properties\":{}}");
            }
        }
        // Not said means strict here, and in no other dialect.
        let is_strict = strict.unwrap_or(false) && target.quirks.strict_schema;
        dropped.add_if(strict.unwrap_or(false) && !is_strict, "tools.strict");
        object.bool("strict", is_strict);
    });
}

fn write_choice(
    request: &Request<'_>,
    target: &Target<'_>,
    choice: &ToolChoice<'_>,
    body: &mut Object<'_>,
) {
    let tool = |object: &mut Object<'_>, name: &Str<'_>| {
        let known = request.tools.iter().find(|tool| tool.name == *name);
        let is_free = known.is_some_and(|tool| matches!(tool.input, ToolInput::Free(_)));
        object.text("type", if is_free && takes_free(target) { "custom" } else { "function" });
        request.flat_name_of(name).write(object.key("name"));
    };
    match choice {
        ToolChoice::Unset => {}
        ToolChoice::Auto => drop(body.text("tool_choice", "auto")),
        ToolChoice::None => drop(body.text("tool_choice", "none")),
        ToolChoice::Required => drop(body.text("tool_choice", "required")),
        ToolChoice::Named(name) => {
            body.object("tool_choice", |object| tool(object, name));
        }
        ToolChoice::Allowed { names, required } => {
            body.object("tool_choice", |object| {
                object.text("type", "allowed_tools");
                object.text("mode", if *required { "required" } else { "auto" });
                object.array("tools", |array| {
                    for name in names {
                        array.object(|object| tool(object, name));
                    }
                });
            });
        }
    }
}

fn write_text(
    format: &Format<'_>,
    verbosity: Option<&Str<'_>>,
    target: &Target<'_>,
    body: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    let takes_schema = target.caps.covers(Capabilities::JSON_SCHEMA);
    let is_schema = matches!(format, Format::Schema { .. });
    dropped.add_if(is_schema && !takes_schema, "response_format.json_schema");
    let format = if is_schema && !takes_schema { &Format::Json } else { format };
    let takes_verbosity = target.quirks.store;
    dropped.add_if(verbosity.is_some() && !takes_verbosity, "verbosity");
    let verbosity = verbosity.filter(|_| takes_verbosity);
    if matches!(format, Format::Text) && verbosity.is_none() {
        return;
    }
    body.object("text", |text| {
        if !matches!(format, Format::Text) {
            text.object("format", |object| write_format(format, object));
        }
        if let Some(verbosity) = verbosity {
            verbosity.write(text.key("verbosity"));
        }
    });
}

fn write_thinking(
    thinking: &Thinking,
    target: &Target<'_>,
    body: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    if !target.caps.covers(Capabilities::REASONING) {
        let is_asked = thinking.level().is_some_and(|effort| effort != Effort::None);
        dropped.add_if(is_asked, "reasoning_effort");
        return;
    }
    let effort = thinking.level().filter(|_| target.quirks.reasoning_effort);
    dropped.add_if(thinking.level().is_some() && effort.is_none(), "reasoning_effort");
    // OpenAI gives summaries only to accounts that it has verified, so they are asked for only when
    // the client does.
    let is_shown = thinking.shown == Some(true);
    if effort.is_none() && !is_shown {
        return;
    }
    body.object("reasoning", |reasoning| {
        if let Some(effort) = effort {
            reasoning.text("effort", effort.among(target.efforts).name());
        }
        if is_shown {
            reasoning.text("summary", "auto");
        }
    });
}
