//! A neutral request, written as a `generateContent` request for a provider. The model and whether the
//! answer is streamed stand in the path.

use super::form::{Media, mime_of_url};
use super::request::MADE_UP;
use super::{schema, state};
use crate::chat::names::flat_name;
use crate::chat::{
    Call, CallResult, Dropped, Effort, Efforts, Format, Json, Part, Request, Role, Sampling,
    Source, Str, Target, Thinking, Tool, ToolChoice, ToolInput, Turn,
};
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind};
use crate::refusal::{self, Refusal};
use models::{Capabilities, Dialect};

/// Most texts that end an answer.
const STOP_MAX: usize = 5;
/// Largest budget for thinking that all models with budgets take.
const BUDGET_MAX: u32 = 24_576;

/// Appends the request as `target` gets it.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    out: &mut Vec<u8>,
) -> Result<Dropped, Refusal> {
    let Request {
        stream: _,
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
        // Names for abuse control and caches have no place there, and nobody misses them.
        user: _,
        cache_key: _,
        cache,
        service_tier,
        metadata,
        unmapped,
    } = request;
    let mut dropped = unmapped.clone();
    let mut body = Object::begin(out);
    Contents { request, target, dropped: &mut dropped }.write(&mut body)?;
    if !tools.is_empty() {
        body.array("tools", |array| {
            array.object(|object| {
                object.array("functionDeclarations", |array| {
                    tools.iter().for_each(|tool| write_tool(tool, array, &mut dropped));
                });
            });
        });
        write_choice(request, tool_choice, &mut body);
        dropped.add_if(*parallel_calls == Some(false), "parallel_tool_calls");
    }
    if stop.len() > STOP_MAX {
        return Err(Refusal::new(refusal::Kind::NotCapable)
            .with_message("this provider takes at most 5 texts that end the answer")
            .with_param("stop"));
    }
    if !matches!(format, Format::Text) && !tools.is_empty() && !thinks_by_level(target) {
        return Err(Refusal::new(refusal::Kind::NotCapable)
            .with_message("this model cannot both call tools and answer in JSON")
            .with_param("response_format"));
    }
    let mut config = Vec::new();
    let mut object = Object::begin(&mut config);
    if let Some(tokens) = max_output {
        dropped.add_if(*tokens > target.max_output, "max_tokens");
        object.number("maxOutputTokens", (*tokens).min(target.max_output).into());
    }
    if !stop.is_empty() {
        object.array("stopSequences", |array| {
            stop.iter().for_each(|text| text.write(array.element()));
        });
    }
    write_sampling(sampling, target, &mut object, &mut dropped);
    if *alternatives > 1 {
        object.number("candidateCount", (*alternatives).into());
    }
    if let Some(count) = logprobs {
        object.bool("responseLogprobs", true);
        if *count > 0 {
            object.number("logprobs", (*count).into());
        }
    }
    write_format(format, target, &mut object, &mut dropped);
    write_thinking(thinking, target, &mut object, &mut dropped);
    object.end();
    if config.len() > 2 {
        body.raw("generationConfig", &config);
    }
    body.end();
    dropped.add_if(verbosity.is_some(), "verbosity");
    dropped.add_if(cache.is_some(), "cache_control");
    dropped.add_if(service_tier.is_some(), "service_tier");
    dropped.add_if(metadata.is_some(), "metadata");
    Ok(dropped)
}

/// Whether the model is told how hard to think by a level, as all since the third generation are,
/// which also want a signature with each call: the data list their levels. Older ones know a budget.
fn thinks_by_level(target: &Target<'_>) -> bool {
    target.efforts != Efforts::default()
}

/// Writes the conversation.
struct Contents<'r, 'b> {
    request: &'r Request<'b>,
    target: &'r Target<'r>,
    dropped: &'r mut Dropped,
}

impl Contents<'_, '_> {
    fn write(mut self, body: &mut Object<'_>) -> Result<(), Refusal> {
        let turns = &self.request.turns;
        let is_system = |turn: &&Turn<'_>| matches!(turn.role, Role::System | Role::Developer);
        let mut opening = turns.iter().take_while(is_system).count();
        if opening == turns.len() {
            // Instructions alone are no conversation there: the last of them asks.
            opening = opening.saturating_sub(1);
        }
        let (system, rest) = turns.split_at(opening);
        let texts = system.iter().flat_map(|turn| &turn.parts);
        self.dropped.add_if(texts.clone().any(is_cache_point), "cache_control");
        let texts = texts.filter_map(text_of).filter(|text| !text.is_empty());
        if texts.clone().next().is_some() {
            body.object("systemInstruction", |object| {
                object.array("parts", |array| {
                    texts.for_each(|text| {
                        array.object(|part| text.write(part.key("text")));
                    });
                });
            });
        }
        let mut array = Array::begin(body.key("contents"));
        for turn in rest {
            match turn.role {
                Role::Assistant => self.model(turn, &mut array)?,
                Role::User | Role::System | Role::Developer => self.user(turn, &mut array)?,
            }
        }
        array.end();
        Ok(())
    }

    /// Results of calls first, all in one content; then what the user says. Pictures in a result
    /// follow with the user's words, since only some models take them inside.
    fn user(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) -> Result<(), Refusal> {
        let mut results = Vec::new();
        let mut list = Array::begin(&mut results);
        let mut said: Vec<&Part<'_>> = Vec::new();
        for part in &turn.parts {
            let Part::Result(result) = part else { continue };
            self.result(turn, result, &mut list)?;
            said.extend(result.parts.iter().filter(|part| is_media(part)));
        }
        let has_results = !list.is_empty();
        list.end();
        self.dropped.add_if(turn.parts.iter().any(is_cache_point), "cache_control");
        said.extend(turn.parts.iter().filter(|part| text_of(part).is_some() || is_media(part)));
        if has_results {
            content("user", &results, array);
        }
        if said.is_empty() && has_results {
            return Ok(());
        }
        let mut parts = Vec::new();
        let mut list = Array::begin(&mut parts);
        for part in said {
            self.part(turn, part, &mut list)?;
        }
        if list.is_empty() {
            // An empty message is one all the same.
            list.object(|part| {
                part.text("text", "");
            });
        }
        list.end();
        content("user", &parts, array);
        Ok(())
    }

    fn result(
        &mut self,
        turn: &Turn<'_>,
        result: &CallResult<'_>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let CallResult { id, parts, is_error } = result;
        let turns = self.request.turns.iter().flat_map(|turn| &turn.parts);
        let call = turns.filter_map(call_of).find(|call| call.id == *id);
        let Some(call) = call else {
            return Err(self
                .request
                .unfit(turn, "the result of a call that is not in the history"));
        };
        self.dropped.add_if(parts.iter().any(is_cache_point), "cache_control");
        let mut text = Str::EMPTY;
        for piece in parts.iter().filter_map(text_of) {
            if !text.is_empty() {
                text.push(&Str::plain("\n\n"));
            }
            text.push(piece);
        }
        let unescaped = text.text();
        let object = is_object(unescaped.as_bytes());
        array.object(|part| {
            part.object("functionResponse", |response| {
                write_id(id, response);
                flat_name(call.namespace.as_ref(), &call.name).write(response.key("name"));
                // What failed is told under that name; an object stands for itself.
                match (is_error, object) {
                    (false, true) => drop(response.raw("response", unescaped.as_bytes())),
                    (_, object) => drop(response.object("response", |wrap| {
                        let name = if *is_error { "error" } else { "result" };
                        match object {
                            true => drop(wrap.raw(name, unescaped.as_bytes())),
                            false => text.write(wrap.key(name)),
                        }
                    })),
                }
            });
        });
        Ok(())
    }

    fn part(
        &mut self,
        turn: &Turn<'_>,
        part: &Part<'_>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let source = match part {
            Part::Text(text)
            | Part::Refusal(text)
            | Part::File { source: Source::Text(text), name: _ } => {
                array.object(|part| text.write(part.key("text")));
                return Ok(());
            }
            Part::Image { source, detail: _ } | Part::Audio(source) => source,
            Part::File { source, name: _ } => source,
            Part::Call(_) | Part::Result(_) | Part::Reasoning(_) | Part::CachePoint(_) => {
                return Ok(());
            }
        };
        match source {
            Source::Base64 { mime, data } => drop(array.object(|part| {
                part.object("inlineData", |blob| {
                    mime.write(blob.key("mimeType"));
                    data.write(blob.key("data"));
                });
            })),
            Source::Url(uri) => write_uri(part, uri, array),
            Source::Id(issuer, uri) if issuer.dialect == Dialect::GeminiGenerate => {
                write_uri(part, uri, array);
            }
            Source::Id(..) => {
                let message = "a file by id stays with the provider of the file";
                return Err(self.request.unfit(turn, message));
            }
            Source::Text(text) => drop(array.object(|part| text.write(part.key("text")))),
        }
        Ok(())
    }

    fn model(&mut self, turn: &Turn<'_>, array: &mut Array<'_>) -> Result<(), Refusal> {
        let mut parts = Vec::new();
        let mut list = Array::begin(&mut parts);
        let mut rest = turn.parts.iter().peekable();
        // One call of a step carries the signature of all.
        let mut is_signed = false;
        while let Some(part) = rest.next() {
            match part {
                Part::Text(text) | Part::Refusal(text) => {
                    let signature = rest.next_if(|next| is_bare_state(next));
                    let signature = signature.and_then(|part| self.signature(part));
                    if text.is_empty() && signature.is_none() {
                        continue;
                    }
                    list.object(|part| {
                        text.write(part.key("text"));
                        if let Some(signature) = signature {
                            signature.write(part.key("thoughtSignature"));
                        }
                    });
                }
                Part::Reasoning(block) => {
                    // Only with its signature is reasoning of any use to its issuer.
                    let Some(signature) = self.signature(part) else { continue };
                    list.object(|part| {
                        block.text.write(part.key("text"));
                        if !block.text.is_empty() {
                            part.bool("thought", true);
                        }
                        signature.write(part.key("thoughtSignature"));
                    });
                }
                Part::Call(call) => self.call(call, &mut is_signed, &mut list),
                Part::CachePoint(_) => self.dropped.add("cache_control"),
                part => self.part(turn, part, &mut list)?,
            }
        }
        // Nothing is left of a turn that was only another's reasoning, and an empty one is refused.
        let is_empty = list.is_empty();
        list.end();
        if !is_empty {
            content("model", &parts, array);
        }
        Ok(())
    }

    /// The signature of reasoning, where it may go back.
    fn signature<'p>(&mut self, part: &'p Part<'_>) -> Option<&'p Str<'p>> {
        let Part::Reasoning(block) = part else { return None };
        let state = block.state.as_ref()?;
        let returns = state.issuer.may_return_to(self.target.issuer);
        self.dropped.add_if(!returns && !state.data.is_empty(), "reasoning_state");
        returns.then_some(&state.data)
    }

    fn call(&mut self, call: &Call<'_>, is_signed: &mut bool, array: &mut Array<'_>) {
        let Call { id, name, namespace, input, state } = call;
        let own = state.as_ref().filter(|state| {
            let returns = state.issuer.may_return_to(self.target.issuer);
            self.dropped.add_if(!returns, "reasoning_state");
            returns
        });
        let is_first = !std::mem::replace(is_signed, true);
        array.object(|part| {
            part.object("functionCall", |call| {
                write_id(id, call);
                flat_name(namespace.as_ref(), name).write(call.key("name"));
                call.raw("args", input.object());
            });
            match own {
                Some(state) => state.data.write(part.key("thoughtSignature")),
                None if is_first && thinks_by_level(self.target) => {
                    part.text("thoughtSignature", state::NO_SIGNATURE);
                }
                None => {}
            }
        });
    }
}

fn content(role: &str, parts: &[u8], array: &mut Array<'_>) {
    array.object(|content| {
        content.text("role", role).raw("parts", parts);
    });
}

/// Ids that we made up are left out again, whatever another dialect has put before them.
fn write_id(id: &Str<'_>, object: &mut Object<'_>) {
    let is_made_up = memchr::memmem::find(id.escaped(), MADE_UP.as_bytes()).is_some();
    if !is_made_up && !id.is_empty() {
        id.write(object.key("id"));
    }
}

fn write_uri(part: &Part<'_>, uri: &Str<'_>, array: &mut Array<'_>) {
    let by_ending = mime_of_url(&uri.text());
    // A picture is told apart from a page by its type.
    let guess = match part {
        Part::Image { .. } => Some("image/jpeg"),
        Part::Audio(_) => Some("audio/mpeg"),
        _ => None,
    };
    let fits = |mime: &&str| match part {
        Part::Image { .. } => Media::of(mime) == Media::Image,
        Part::Audio(_) => Media::of(mime) == Media::Audio,
        _ => true,
    };
    array.object(|part| {
        part.object("fileData", |file| {
            if let Some(mime) = by_ending.filter(fits).or(guess) {
                file.text("mimeType", mime);
            }
            uri.write(file.key("fileUri"));
        });
    });
}

fn call_of<'p, 'b>(part: &'p Part<'b>) -> Option<&'p Call<'b>> {
    match part {
        Part::Call(call) => Some(call),
        _ => None,
    }
}

fn text_of<'p, 'b>(part: &'p Part<'b>) -> Option<&'p Str<'b>> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(text),
        Part::File { source: Source::Text(text), .. } => Some(text),
        _ => None,
    }
}

fn is_media(part: &Part<'_>) -> bool {
    let is_text = matches!(part, Part::File { source: Source::Text(_), .. });
    !is_text && matches!(part, Part::Image { .. } | Part::Audio(_) | Part::File { .. })
}

fn is_cache_point(part: &Part<'_>) -> bool {
    matches!(part, Part::CachePoint(_))
}

/// Whether a part is nothing but the signature of the text before it.
fn is_bare_state(part: &Part<'_>) -> bool {
    matches!(part, Part::Reasoning(block) if block.text.is_empty())
}

fn is_object(text: &[u8]) -> bool {
    let whole = || {
        let mut cursor = Cursor::new(text)?;
        let is_object = cursor.kind()? == Kind::Object;
        cursor.skip()?;
        cursor.end()?;
        Ok::<_, crate::json::JsonError>(is_object)
    };
    whole().unwrap_or(false)
}

fn write_tool(tool: &Tool<'_>, array: &mut Array<'_>, dropped: &mut Dropped) {
    let Tool { name, namespace, description, input, strict, cache } = tool;
    dropped.add_if(cache.is_some(), "cache_control");
    dropped.add_if(*strict == Some(true), "tools.strict");
    array.object(|function| {
        flat_name(namespace.as_ref(), name).write(function.key("name"));
        if let Some(description) = description {
            description.write(function.key("description"));
        }
        match input {
            ToolInput::Schema(Some(schema)) => {
                function.raw("parametersJsonSchema", for_google(schema));
            }
            // A function without arguments has no schema.
            ToolInput::Schema(None) => {}
            ToolInput::Free(_) => drop(function.raw("parametersJsonSchema", Tool::FREE_SCHEMA)),
        }
    });
}

/// The schema as Google takes it.
fn for_google(schema: &Json<'_>) -> Json<'static> {
    schema::to_google(schema.bytes()).unwrap_or_else(|| schema.clone().into_owned())
}

fn write_choice(request: &Request<'_>, choice: &ToolChoice<'_>, body: &mut Object<'_>) {
    let (mode, names): (_, &[Str<'_>]) = match choice {
        ToolChoice::Unset => return,
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Named(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Allowed { names, required: true } => ("ANY", names),
        ToolChoice::Allowed { names, required: false } => ("VALIDATED", names),
    };
    body.object("toolConfig", |config| {
        config.object("functionCallingConfig", |calling| {
            calling.text("mode", mode);
            if !names.is_empty() {
                calling.array("allowedFunctionNames", |array| {
                    names.iter().for_each(|name| {
                        request.flat_name_of(name).write(array.element());
                    });
                });
            }
        });
    });
}

fn write_sampling(
    sampling: &Sampling<'_>,
    target: &Target<'_>,
    config: &mut Object<'_>,
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
        ("temperature", "temperature", temperature, takes),
        ("topP", "top_p", top_p, takes),
        ("topK", "top_k", top_k, takes),
        ("presencePenalty", "presence_penalty", presence_penalty, takes),
        ("frequencyPenalty", "frequency_penalty", frequency_penalty, takes),
        ("seed", "seed", seed, true),
    ];
    for (name, told, value, takes) in numbers {
        match value {
            Some(value) if takes => drop(config.raw(name, value)),
            _ => drop(dropped.add_if(value.is_some(), told)),
        }
    }
    dropped.add_if(logit_bias.is_some(), "logit_bias");
}

fn write_format(
    format: &Format<'_>,
    target: &Target<'_>,
    config: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    if matches!(format, Format::Text) {
        return;
    }
    config.text("responseMimeType", "application/json");
    // Its name and the word "strict" mean nothing there: a schema is always followed.
    if let Format::Schema { name: _, description: _, schema, strict: _ } = format {
        match target.caps.covers(Capabilities::JSON_SCHEMA) {
            true => drop(config.raw("responseJsonSchema", for_google(schema))),
            false => dropped.add("response_format.json_schema"),
        }
    }
}

/// How this target is told to think: by a level, or by a budget in tokens.
fn write_thinking(
    thinking: &Thinking,
    target: &Target<'_>,
    config: &mut Object<'_>,
    dropped: &mut Dropped,
) {
    let Some(effort) = thinking.level() else {
        let thinks = target.caps.covers(Capabilities::REASONING);
        if let Some(shown) = thinking.shown.filter(|_| thinks) {
            config.object("thinkingConfig", |object| {
                object.bool("includeThoughts", shown);
            });
        }
        return;
    };
    if !target.caps.covers(Capabilities::REASONING) {
        dropped.add_if(effort != Effort::None, "reasoning_effort");
        return;
    }
    let shows = effort != Effort::None && thinking.shown != Some(false);
    config.object("thinkingConfig", |object| {
        if thinks_by_level(target) {
            let level = match effort.among(target.efforts) {
                Effort::None | Effort::Minimal => "MINIMAL",
                Effort::Low => "LOW",
                Effort::Medium => "MEDIUM",
                Effort::High | Effort::Xhigh | Effort::Max => "HIGH",
            };
            object.text("thinkingLevel", level);
        } else {
            let budget = thinking.budget.filter(|_| effort != Effort::None);
            let budget = budget.unwrap_or_else(|| effort.budget());
            object.number("thinkingBudget", budget.min(BUDGET_MAX).into());
        }
        object.bool("includeThoughts", shows);
    });
}
