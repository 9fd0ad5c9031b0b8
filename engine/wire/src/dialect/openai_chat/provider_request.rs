//! A neutral request, written as a chat completion request for a provider.

use crate::chat::names::flat_name;
use crate::chat::{
    Call, CallResult, Dropped, Effort, Format, Part, Request, Role, Sampling, Source, Str, Target,
    Thinking, Tool, ToolChoice, ToolInput, Turn,
};
use crate::json::write::{Array, Object};
use crate::refusal::Refusal;
use models::Capabilities;
use models::catalogue::{MaxTokensField, ThinkingFormat};

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
        alternatives,
        logprobs,
        format,
        thinking,
        verbosity,
        user,
        cache_key,
        cache,
        service_tier: _,
        metadata: _,
        unmapped,
    } = request;
    let quirks = &target.quirks;
    let mut dropped = unmapped.clone();
    let mut body = Object::begin(out);
    body.raw("model", [b"\"", target.model.as_bytes(), b"\""].concat());
    let messages = Messages { request, target, dropped: &mut dropped };
    messages.write(&mut body)?;
    if *stream {
        body.bool("stream", true);
        if quirks.usage_in_stream {
            body.raw("stream_options", "{\"include_usage\":true}");
        }
    }
    if let Some(tokens) = max_output {
        let name = match quirks.max_tokens_field {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        body.number(name, (*tokens).into());
    }
    if !stop.is_empty() {
        body.array("stop", |array| stop.iter().for_each(|text| text.write(array.element())));
    }
    write_sampling(sampling, target, &mut body, &mut dropped);
    if *alternatives > 1 {
        body.number("n", (*alternatives).into());
    }
    if let Some(count) = logprobs {
        body.bool("logprobs", true);
        if *count > 0 {
            body.number("top_logprobs", (*count).into());
        }
    }
    if !tools.is_empty() {
        body.array("tools", |array| {
            for tool in tools {
                write_tool(tool, target, array, &mut dropped);
            }
        });
        write_choice(request, tool_choice, &mut body);
        if let Some(parallel) = parallel_calls {
            body.bool("parallel_tool_calls", *parallel);
        }
    }
    write_format(format, target, &mut body, &mut dropped);
    write_thinking(thinking, target, &mut body, &mut dropped);
    // What only OpenAI itself takes is known by its own name for the output limit.
    let is_openai = quirks.store;
    let own = [("verbosity", verbosity), ("prompt_cache_key", cache_key), ("user", user)];
    for (name, value) in own {
        match value {
            Some(value) if is_openai => value.write(body.key(name)),
            // Hints, and a name for abuse control: nobody misses them.
            _ => drop(dropped.add_if(value.is_some() && name == "verbosity", "verbosity")),
        }
    }
    dropped.add_if(cache.is_some(), "cache_control");
    dropped.add_if(request.service_tier.is_some(), "service_tier");
    dropped.add_if(request.metadata.is_some(), "metadata");
    body.end();
    Ok(dropped)
}

/// Writes the messages.
struct Messages<'r, 'b> {
    request: &'r Request<'b>,
    target: &'r Target<'r>,
    dropped: &'r mut Dropped,
}

impl Messages<'_, '_> {
    fn write(mut self, body: &mut Object<'_>) -> Result<(), Refusal> {
        let mut array = Array::begin(body.key("messages"));
        let mut is_opening = true;
        for turn in &self.request.turns {
            match turn.role {
                Role::System | Role::Developer => self.system(turn, is_opening, &mut array),
                Role::User => self.user(turn, &mut array)?,
                Role::Assistant => self.assistant(turn, &mut array),
            }
            is_opening &= matches!(turn.role, Role::System | Role::Developer);
        }
        array.end();
        Ok(())
    }

    fn system(&mut self, turn: &Turn<'_>, is_opening: bool, array: &mut Array<'_>) {
        let quirks = &self.target.quirks;
        let role = match turn.role {
            _ if !is_opening && !quirks.system_anywhere && !quirks.developer_role => "user",
            Role::Developer if quirks.developer_role => "developer",
            _ => "system",
        };
        self.dropped.add_if(has_cache_point(&turn.parts), "cache_control");
        array.object(|message| {
            message.text("role", role);
            joined(&turn.parts, b"\\n\\n").write(message.key("content"));
        });
    }

    /// Results of calls first, each as a message of its own; then what the user says. Pictures in a
    /// result have no place there and follow with the user's words.
    fn user(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) -> Result<(), Refusal> {
        let mut moved: Vec<&Part<'_>> = Vec::new();
        for part in &turn.parts {
            let Part::Result(CallResult { id, parts, is_error }) = part else { continue };
            self.dropped.add_if(*is_error, "tool_result.is_error");
            self.dropped.add_if(has_cache_point(parts), "cache_control");
            array.object(|message| {
                message.text("role", "tool");
                id.write(message.key("tool_call_id"));
                joined(parts, b"\\n\\n").write(message.key("content"));
            });
            moved.extend(parts.iter().filter(|part| is_media(part)));
        }
        self.dropped.add_if(has_cache_point(&turn.parts), "cache_control");
        let said = turn.parts.iter().filter(|part| {
            matches!(part, Part::Text(_) | Part::Refusal(_) | Part::Reasoning(_)) || is_media(part)
        });
        let said: Vec<&Part<'_>> = moved.into_iter().chain(said).collect();
        if said.is_empty() && !turn.parts.is_empty() {
            return Ok(());
        }
        let mut failed = Ok(());
        array.object(|message| {
            message.text("role", "user");
            if let Some(name) = &turn.name {
                name.write(message.key("name"));
            }
            match said.iter().any(|part| is_media(part)) {
                false => joined(said.iter().copied(), b"\\n\\n").write(message.key("content")),
                true => {
                    message.array("content", |array| {
                        failed = said.iter().try_for_each(|part| self.part(turn, part, array));
                    });
                }
            }
        });
        failed
    }

    fn part(
        &mut self,
        turn: &Turn<'_>,
        part: &Part<'_>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let request = self.request;
        match part {
            Part::Text(text) => drop(array.object(|part| {
                part.text("type", "text");
                text.write(part.key("text"));
            })),
            Part::Image { source, detail } => {
                let url = source.url().ok_or_else(|| {
                    request.unfit(turn, "a picture by file id stays with the provider of the file")
                })?;
                array.object(|part| {
                    part.text("type", "image_url").object("image_url", |image| {
                        url.write(image.key("url"));
                        if let Some(detail) = detail {
                            detail.write(image.key("detail"));
                        }
                    });
                });
            }
            Part::Audio(source) => {
                let Source::Base64 { mime, data } = source else {
                    return Err(request.unfit(turn, "sound has to be sent as base 64 here"));
                };
                let mime = mime.text();
                let format = match mime.rsplit('/').next().unwrap_or_default() {
                    "mpeg" => "mp3",
                    "x-wav" | "wave" => "wav",
                    other => other,
                };
                array.object(|part| {
                    part.text("type", "input_audio").object("input_audio", |audio| {
                        data.write(audio.key("data"));
                        audio.text("format", format);
                    });
                });
            }
            Part::File { source: Source::Text(text), name: _ } => drop(array.object(|part| {
                part.text("type", "text");
                text.write(part.key("text"));
            })),
            Part::File { source, name } => {
                let data = match source {
                    Source::Base64 { .. } => source.url(),
                    _ => None,
                };
                let data = data.ok_or_else(|| {
                    request.unfit(turn, "a document has to be sent as base 64 to this provider")
                })?;
                array.object(|part| {
                    part.text("type", "file").object("file", |file| {
                        match name {
                            Some(name) => name.write(file.key("filename")),
                            None => drop(file.text("filename", "document.pdf")),
                        }
                        data.write(file.key("file_data"));
                    });
                });
            }
            Part::Call(_)
            | Part::Result(_)
            | Part::Reasoning(_)
            | Part::Refusal(_)
            | Part::CachePoint(_) => {}
        }
        Ok(())
    }

    fn assistant(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) {
        let mut calls = Vec::new();
        let mut reasoning = Vec::new();
        let mut refusal = None;
        for part in &turn.parts {
            match part {
                Part::Call(call) => calls.push(call),
                Part::Reasoning(block) => {
                    let lost = block.state.as_ref().is_some_and(|state| !state.data.is_empty());
                    self.dropped.add_if(lost, "reasoning_state");
                    reasoning.push(&block.text);
                }
                Part::Refusal(text) => refusal = Some(text),
                Part::CachePoint(_) => self.dropped.add("cache_control"),
                Part::Text(_) | Part::Result(_) => {}
                part => drop(self.dropped.add_if(is_media(part), "assistant.media")),
            }
        }
        let text = joined(turn.parts.iter().filter(|part| matches!(part, Part::Text(_))), b"");
        if calls.is_empty() && text.is_empty() && refusal.is_none() {
            // Nothing is left of a turn that was only reasoning, and an empty one is refused.
            return;
        }
        let needs_reasoning = self.target.quirks.needs_reasoning_back;
        array.object(|message| {
            message.text("role", "assistant");
            match text.is_empty() {
                true => drop(message.raw("content", "null")),
                false => text.write(message.key("content")),
            }
            if let Some(refusal) = refusal {
                refusal.write(message.key("refusal"));
            }
            if needs_reasoning && reasoning.iter().any(|text| !text.is_empty()) {
                let mut whole = Str::EMPTY.into_owned();
                reasoning.iter().for_each(|text| whole.push(text));
                whole.write(message.key("reasoning_content"));
            }
            if !calls.is_empty() {
                message.array("tool_calls", |array| {
                    calls.iter().for_each(|call| self.call(call, array));
                });
            }
        });
    }

    fn call(&mut self, call: &Call<'_>, array: &mut Array<'_>) {
        let Call { id, name, namespace, input, state } = call;
        array.object(|object| {
            id.write(object.key("id"));
            object.text("type", "function").object("function", |function| {
                flat_name(namespace.as_ref(), name).write(function.key("name"));
                input.text().write(function.key("arguments"));
            });
            match state {
                Some(state) if state.issuer.may_return_to(self.target.issuer) => {
                    object.object("extra_content", |extra| {
                        extra.object("google", |google| {
                            state.data.write(google.key("thought_signature"));
                        });
                    });
                }
                Some(_) => self.dropped.add("reasoning_state"),
                None => {}
            }
        });
    }
}

fn is_media(part: &Part<'_>) -> bool {
    matches!(part, Part::Image { .. } | Part::Audio(_) | Part::File { .. })
}

fn has_cache_point(parts: &[Part<'_>]) -> bool {
    parts.iter().any(|part| matches!(part, Part::CachePoint(_)))
}

/// All text of some parts as one; `between` is escaped.
fn joined<'p, 'b: 'p>(parts: impl IntoIterator<Item = &'p Part<'b>>, between: &[u8]) -> Str<'p> {
    let mut texts = parts.into_iter().filter_map(|part| match part {
        Part::Text(text) | Part::Refusal(text) => Some(text),
        Part::File { source: Source::Text(text), .. } => Some(text),
        _ => None,
    });
    let Some(first) = texts.next() else { return Str::EMPTY };
    let mut whole = first.borrowed();
    for text in texts {
        whole.push(&Str::escaped_from(between));
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
    let takes = target.quirks.sampling_params;
    let numbers = [
        ("temperature", temperature),
        ("top_p", top_p),
        ("presence_penalty", presence_penalty),
        ("frequency_penalty", frequency_penalty),
    ];
    for (name, value) in numbers {
        match value {
            Some(value) if takes => drop(body.raw(name, value)),
            _ => drop(dropped.add_if(value.is_some(), name)),
        }
    }
    if let Some(seed) = seed {
        body.raw("seed", seed);
    }
    if let Some(bias) = logit_bias {
        body.raw("logit_bias", bias);
    }
    dropped.add_if(top_k.is_some(), "top_k");
}

fn write_tool(tool: &Tool<'_>, target: &Target<'_>, array: &mut Array<'_>, dropped: &mut Dropped) {
    let Tool { name, namespace, description, input, strict, cache } = tool;
    dropped.add_if(cache.is_some(), "cache_control");
    array.object(|object| {
        object.text("type", "function").object("function", |function| {
            flat_name(namespace.as_ref(), name).write(function.key("name"));
            if let Some(description) = description {
                description.write(function.key("description"));
            }
            match input {
                ToolInput::Schema(Some(schema)) => drop(function.raw("parameters", schema)),
                ToolInput::Schema(None) => {
                    function.raw("parameters", "{\"type\":\"object\",\"properties\":{}}");
                }
                ToolInput::Free(_) => drop(function.raw("parameters", Tool::FREE_SCHEMA)),
            }
            match strict {
                Some(strict) if target.quirks.strict_schema => {
                    function.bool("strict", *strict);
                }
                _ => drop(dropped.add_if(*strict == Some(true), "tools.strict")),
            }
        });
    });
}

fn write_choice(request: &Request<'_>, choice: &ToolChoice<'_>, body: &mut Object<'_>) {
    let function = |object: &mut Object<'_>, name: &Str<'_>| {
        object.text("type", "function").object("function", |function| {
            request.flat_name_of(name).write(function.key("name"));
        });
    };
    match choice {
        ToolChoice::Unset => {}
        ToolChoice::Auto => drop(body.text("tool_choice", "auto")),
        ToolChoice::None => drop(body.text("tool_choice", "none")),
        ToolChoice::Required => drop(body.text("tool_choice", "required")),
        ToolChoice::Named(name) => {
            body.object("tool_choice", |object| function(object, name));
        }
        ToolChoice::Allowed { names, required } => {
            body.object("tool_choice", |object| {
                object.text("type", "allowed_tools").object("allowed_tools", |allowed| {
                    allowed.text("mode", if *required { "required" } else { "auto" });
                    allowed.array("tools", |array| {
                        for name in names {
                            array.object(|object| function(object, name));
                        }
                    });
                });
            });
        }
    }
}

fn write_format(
    format: &Format<'_>,
    target: &Target<'_>,
    body: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    match format {
        Format::Text => {}
        Format::Json => drop(body.raw("response_format", "{\"type\":\"json_object\"}")),
        Format::Schema { .. } if !target.caps.covers(Capabilities::JSON_SCHEMA) => {
            dropped.add("response_format.json_schema");
            body.raw("response_format", "{\"type\":\"json_object\"}");
        }
        Format::Schema { name, description, schema, strict } => {
            body.object("response_format", |format| {
                format.text("type", "json_schema").object("json_schema", |object| {
                    match name {
                        Some(name) => name.write(object.key("name")),
                        None => drop(object.text("name", "answer")),
                    }
                    if let Some(description) = description {
                        description.write(object.key("description"));
                    }
                    object.raw("schema", schema);
                    match strict {
                        Some(strict) if target.quirks.strict_schema => {
                            object.bool("strict", *strict);
                        }
                        _ => {}
                    }
                });
            });
        }
    }
}

/// How this target is told to think, in its own words.
fn write_thinking(
    thinking: &Thinking,
    target: &Target<'_>,
    body: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    let Some(effort) = thinking.level() else { return };
    if !target.caps.covers(Capabilities::REASONING) {
        dropped.add_if(effort != Effort::None, "reasoning_effort");
        return;
    }
    let level = effort.among(target.efforts).name();
    let is_on = effort != Effort::None;
    let switch = if is_on { "{\"type\":\"enabled\"}" } else { "{\"type\":\"disabled\"}" };
    let quirks = &target.quirks;
    match quirks.thinking {
        ThinkingFormat::Openai if quirks.reasoning_effort => {
            body.text("reasoning_effort", level);
        }
        ThinkingFormat::Openai => dropped.add("reasoning_effort"),
        ThinkingFormat::Openrouter => {
            body.object("reasoning", |object| {
                object.text("effort", level);
            });
        }
        ThinkingFormat::Deepseek | ThinkingFormat::Zai => drop(body.raw("thinking", switch)),
        ThinkingFormat::Together => {
            body.object("reasoning", |object| {
                object.bool("enabled", is_on);
            });
        }
        ThinkingFormat::Template => {
            body.object("chat_template_kwargs", |object| {
                object.bool("enable_thinking", is_on);
            });
        }
    }
}
