//! A neutral request, written as a messages request for a provider.

use crate::chat::names::{fit_id, flat_name};
use crate::chat::{
    CacheTtl, Call, CallResult, Dropped, Effort, Efforts, Format, Part, Reasoning, Request, Role,
    Sampling, Source, Str, Target, Tool, ToolChoice, ToolInput, Turn,
};
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind};
use crate::refusal::{self, Refusal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use models::{Capabilities, Dialect};

/// Most cache marks that the API takes.
const CACHE_MARKS_MAX: u32 = 4;
/// Least budget for thinking that the API takes.
const BUDGET_MIN: u32 = 1_024;
/// Longest id of a call that is passed on.
const ID_BYTES_MAX: usize = 128;

/// Appends the request as `target` gets it.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    out: &mut Vec<u8>,
) -> Result<Dropped, Refusal> {
    let Request {
        stream,
        usage_in_stream: _,
        turns,
        turns_field: _,
        tools: _,
        tool_choice: _,
        parallel_calls: _,
        max_output,
        stop,
        sampling,
        alternatives,
        logprobs,
        format,
        thinking: _,
        verbosity,
        user,
        // The API finds its cache by the prompt itself.
        cache_key: _,
        cache,
        service_tier,
        metadata,
        unmapped,
    } = request;
    if *alternatives > 1 {
        return Err(Refusal::new(refusal::Kind::NotCapable)
            .with_message("this provider gives one answer at a time; ask for one alternative")
            .with_param("n"));
    }
    let max_output = max_output.unwrap_or(target.max_output);
    let mut writer = Writer { request, target, dropped: unmapped.clone(), marks: 0 };
    let thinking = writer.thinking(max_output);
    let mut body = Object::begin(out);
    body.raw("model", [b"\"", target.model.as_bytes(), b"\""].concat());
    // Required here, and optional elsewhere: then the model's own limit.
    body.number("max_tokens", max_output.into());
    let opening = turns.iter().take_while(|turn| is_system(turn)).count();
    writer.tools(&mut body);
    writer.system(&turns[..opening], format, &mut body);
    writer.messages(&turns[opening..], &mut body)?;
    if *stream {
        body.bool("stream", true);
    }
    writer.stop(stop, &mut body);
    writer.sampling(sampling, thinking != ThinkingOut::Off, &mut body);
    writer.write_thinking(thinking, &mut body);
    if let Some(user) = user {
        body.object("metadata", |metadata| user.write(metadata.key("user_id")));
    }
    if cache.is_some() {
        body.raw("cache_control", "{\"type\":\"ephemeral\"}");
    }
    let dropped = &mut writer.dropped;
    dropped.add_if(logprobs.is_some(), "logprobs");
    dropped.add_if(verbosity.is_some(), "verbosity");
    dropped.add_if(metadata.is_some(), "metadata");
    dropped.add_if(service_tier.is_some(), "service_tier");
    body.end();
    Ok(writer.dropped)
}

struct Writer<'r, 'b> {
    request: &'r Request<'b>,
    target: &'r Target<'r>,
    dropped: Dropped,
    /// Cache marks that have been written.
    marks: u32,
}

/// How this target is told to think.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThinkingOut {
    /// Nothing is said.
    Unset,
    /// Not at all.
    Off,
    /// Within so many tokens.
    Budget(u32),
    /// As the model sees fit, that hard.
    Adaptive(Effort),
}

impl Writer<'_, '_> {
    fn thinking(&mut self, max_output: u32) -> ThinkingOut {
        let Some(effort) = self.request.thinking.level() else { return ThinkingOut::Unset };
        if !self.target.caps.covers(Capabilities::REASONING) {
            self.dropped.add_if(effort != Effort::None, "reasoning_effort");
            return ThinkingOut::Unset;
        }
        if effort == Effort::None {
            return ThinkingOut::Off;
        }
        let quirks = &self.target.quirks;
        if quirks.adaptive_thinking {
            let known = match self.target.efforts {
                efforts if efforts == Efforts::default() => Efforts::of(["low", "medium", "high"]),
                efforts => efforts,
            };
            return ThinkingOut::Adaptive(effort.among(known));
        }
        // Thinking by budget excludes forced calls, needs room for the answer, and wants the signed
        // thinking back that led to the calls whose results come now.
        let is_forced = matches!(
            self.request.tool_choice,
            ToolChoice::Required
                | ToolChoice::Named(_)
                | ToolChoice::Allowed { required: true, .. }
        );
        let budget = self.request.thinking.budget.unwrap_or(effort.budget());
        let budget = budget.max(BUDGET_MIN).min(max_output.saturating_sub(1));
        if is_forced || budget < BUDGET_MIN || self.lacks_signature() {
            self.dropped.add("reasoning_effort");
            return ThinkingOut::Off;
        }
        ThinkingOut::Budget(budget)
    }

    /// Whether results are sent of calls whose turn does not begin with thinking that this target
    /// signed.
    fn lacks_signature(&self) -> bool {
        let request = self.request;
        if !request.ends_with_results() {
            return false;
        }
        let last = request.turns.iter().rev().find(|turn| turn.role == Role::Assistant);
        last.is_some_and(|turn| {
            !turn.parts.iter().any(
                |part| matches!(part, Part::Reasoning(block) if self.may_return(block).is_some()),
            )
        })
    }

    fn may_return<'s>(&self, block: &'s Reasoning<'_>) -> Option<&'s crate::chat::State<'s>> {
        let state = block.state.as_ref()?;
        (state.issuer.may_return_to(self.target.issuer) && !state.data.is_empty()).then_some(state)
    }

    fn write_thinking(&mut self, thinking: ThinkingOut, body: &mut Object<'_>) {
        let shown = self.request.thinking.shown;
        let display = |object: &mut Object<'_>| match shown {
            Some(true) => drop(object.text("display", "summarized")),
            Some(false) => drop(object.text("display", "omitted")),
            None => {}
        };
        match thinking {
            ThinkingOut::Unset => {}
            ThinkingOut::Off => drop(body.raw("thinking", "{\"type\":\"disabled\"}")),
            ThinkingOut::Budget(tokens) => {
                body.object("thinking", |object| {
                    object.text("type", "enabled").number("budget_tokens", tokens.into());
                    display(object);
                });
            }
            ThinkingOut::Adaptive(_) => {
                body.object("thinking", |object| {
                    object.text("type", "adaptive");
                    display(object);
                });
            }
        }
        let effort = match thinking {
            ThinkingOut::Adaptive(effort) => Some(effort.name()),
            _ => None,
        };
        let schema = match &self.request.format {
            Format::Schema { schema, .. } if self.takes_schema() => Some(schema),
            _ => None,
        };
        if effort.is_none() && schema.is_none() {
            return;
        }
        body.object("output_config", |config| {
            if let Some(effort) = effort {
                config.text("effort", effort);
            }
            if let Some(schema) = schema {
                config.object("format", |format| {
                    format.text("type", "json_schema").raw("schema", schema);
                });
            }
        });
    }

    fn takes_schema(&self) -> bool {
        self.target.caps.covers(Capabilities::JSON_SCHEMA)
    }

    fn stop(&mut self, stop: &[Str<'_>], body: &mut Object<'_>) {
        // A text of white space only is refused.
        let fit = |text: &&Str<'_>| !text.text().trim().is_empty();
        self.dropped.add_if(!stop.iter().all(|text| fit(&text)), "stop");
        let mut fit = stop.iter().filter(fit).peekable();
        if fit.peek().is_some() {
            body.array("stop_sequences", |array| fit.for_each(|text| text.write(array.element())));
        }
    }

    fn sampling(&mut self, sampling: &Sampling<'_>, may_think: bool, body: &mut Object<'_>) {
        let Sampling {
            temperature,
            top_p,
            top_k,
            presence_penalty,
            frequency_penalty,
            seed,
            logit_bias,
        } = sampling;
        let thinks = may_think && self.request.thinking.level().is_some();
        let takes = self.target.quirks.sampling_params && !thinks;
        match temperature {
            Some(temperature) if takes => {
                let is_high = temperature.parse::<f32>().is_ok_and(|value| value > 1.0);
                self.dropped.add_if(is_high, "temperature");
                body.raw("temperature", if is_high { "1" } else { temperature });
            }
            _ => drop(self.dropped.add_if(temperature.is_some(), "temperature")),
        }
        match top_p {
            // Newer models take one of the two.
            Some(top_p) if takes && temperature.is_none() => drop(body.raw("top_p", top_p)),
            _ => drop(self.dropped.add_if(top_p.is_some(), "top_p")),
        }
        match top_k {
            Some(top_k) if takes => drop(body.raw("top_k", top_k)),
            _ => drop(self.dropped.add_if(top_k.is_some(), "top_k")),
        }
        let is_set = |value: &Option<&str>| value.is_some_and(|value| value.parse() != Ok(0.0f32));
        self.dropped.add_if(is_set(presence_penalty), "presence_penalty");
        self.dropped.add_if(is_set(frequency_penalty), "frequency_penalty");
        self.dropped.add_if(seed.is_some(), "seed");
        self.dropped.add_if(logit_bias.is_some(), "logit_bias");
    }

    /// The opening system messages, and what the format needs said where there is no field for it.
    fn system(&mut self, turns: &[Turn<'_>], format: &Format<'_>, body: &mut Object<'_>) {
        let instruction = match format {
            Format::Text => None,
            Format::Schema { .. } if self.takes_schema() => None,
            Format::Json => {
                self.dropped.add("response_format.json_object");
                Some("Answer with one JSON object and nothing else.".to_owned())
            }
            Format::Schema { schema, .. } => {
                self.dropped.add("response_format.json_schema");
                Some(format!(
                    "Answer with one JSON value and nothing else. It must follow this JSON Schema:\n{}",
                    String::from_utf8_lossy(schema.bytes())
                ))
            }
        };
        let parts = || turns.iter().flat_map(|turn| &turn.parts);
        let has_text = parts().any(|part| matches!(part, Part::Text(text) if !is_blank(text)));
        if !has_text && instruction.is_none() {
            return;
        }
        let mut array = Array::begin(body.key("system"));
        for turn in turns {
            self.blocks(turn, &turn.parts, &mut array, |part| matches!(part, Part::Text(_)))
                .unwrap_or_default();
        }
        if let Some(instruction) = instruction {
            array.object(|block| {
                block.text("type", "text").text("text", &instruction);
            });
        }
        array.end();
    }

    /// Messages, with neighbours of the same role as one: results have to stand in the first message
    /// after their calls, before anything else that the user says.
    fn messages(&mut self, turns: &[Turn<'_>], body: &mut Object<'_>) -> Result<(), Refusal> {
        let takes_prefill = self.target.caps.covers(Capabilities::ASSISTANT_PREFILL);
        if let Some(last) = turns.last().filter(|last| last.role == Role::Assistant)
            && !takes_prefill
        {
            let message = "this model does not go on with an answer that the client began; end the \
                           conversation with a message of the user";
            return Err(self.request.unfit(last, message));
        }
        let mut array = Array::begin(body.key("messages"));
        if turns.first().is_none_or(|turn| turn.role == Role::Assistant) {
            // The API wants the user to speak first.
            array.element().extend_from_slice(
                br#"{"role":"user","content":[{"type":"text","text":"(start)"}]}"#,
            );
        }
        let role_of = |turn: &Turn<'_>| match turn.role {
            Role::Assistant => Role::Assistant,
            Role::System | Role::Developer if self.target.quirks.system_anywhere => Role::System,
            _ => Role::User,
        };
        for group in turns.chunk_by(|a, b| role_of(a) == role_of(b)) {
            let role = group.first().map_or(Role::User, role_of);
            self.message(role, group, &mut array)?;
        }
        array.end();
        Ok(())
    }

    fn message(
        &mut self,
        role: Role,
        group: &[Turn<'_>],
        messages: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let mut blocks = Vec::new();
        let mut array = Array::begin(&mut blocks);
        for turn in group {
            self.blocks(turn, &turn.parts, &mut array, |part| matches!(part, Part::Result(_)))?;
        }
        for turn in group {
            self.blocks(turn, &turn.parts, &mut array, |part| !matches!(part, Part::Result(_)))?;
        }
        // Nothing is left of a turn of somebody else's reasoning, and an empty one is refused.
        let is_empty = array.is_empty();
        array.end();
        if !is_empty {
            let name = match role {
                Role::Assistant => "assistant",
                Role::System | Role::Developer => "system",
                Role::User => "user",
            };
            messages.object(|message| {
                message.text("role", name).raw("content", &blocks);
            });
        }
        Ok(())
    }

    /// Writes those parts that `picks` takes, each with the mark that follows it.
    fn blocks(
        &mut self,
        turn: &Turn<'_>,
        parts: &[Part<'_>],
        array: &mut Array<'_>,
        picks: impl Fn(&Part<'_>) -> bool,
    ) -> Result<(), Refusal> {
        for (index, part) in parts.iter().enumerate() {
            if matches!(part, Part::CachePoint(_)) || !picks(part) {
                continue;
            }
            let mark = match parts.get(index + 1) {
                Some(Part::CachePoint(ttl)) => Some(*ttl),
                _ => None,
            };
            self.block(turn, part, mark, array)?;
        }
        Ok(())
    }

    fn block(
        &mut self,
        turn: &Turn<'_>,
        part: &Part<'_>,
        mark: Option<CacheTtl>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        match part {
            Part::Text(text) | Part::Refusal(text) if is_blank(text) => {}
            Part::Text(text) | Part::Refusal(text) => {
                let mark = self.mark(mark);
                array.object(|block| {
                    block.text("type", "text");
                    text.write(block.key("text"));
                    write_mark(mark, block);
                });
            }
            Part::Image { source, detail: _ } => {
                let source = self.source(turn, source, "a picture")?;
                let mark = self.mark(mark);
                array.object(|block| {
                    block.text("type", "image").raw("source", &source);
                    write_mark(mark, block);
                });
            }
            Part::Audio(_) => {
                return Err(self.request.unfit(turn, "this provider does not take sound"));
            }
            Part::File { source, name } => {
                let source = self.source(turn, source, "a document")?;
                let mark = self.mark(mark);
                array.object(|block| {
                    block.text("type", "document").raw("source", &source);
                    if let Some(name) = name {
                        name.write(block.key("title"));
                    }
                    write_mark(mark, block);
                });
            }
            Part::Call(call) => self.call(call, mark, array),
            Part::Result(result) => self.result(turn, result, mark, array)?,
            Part::Reasoning(block) => self.reasoning(block, array),
            Part::CachePoint(_) => {}
        }
        Ok(())
    }

    fn source(
        &mut self,
        turn: &Turn<'_>,
        source: &Source<'_>,
        what: &str,
    ) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        match source {
            Source::Base64 { mime, data } if mime.escaped().starts_with(b"text") => {
                let bytes = STANDARD.decode(data.text().as_bytes()).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                let Some(text) = text else {
                    let message = format!("{what} that is said to be text is none in base 64");
                    return Err(self.request.unfit(turn, message));
                };
                object.text("type", "text").text("media_type", "text/plain").text("data", &text);
            }
            Source::Base64 { mime, data } => {
                object.text("type", "base64");
                mime.write(object.key("media_type"));
                data.write(object.key("data"));
            }
            Source::Url(url) => {
                object.text("type", "url");
                url.write(object.key("url"));
            }
            Source::Id(issuer, id) if issuer.dialect == Dialect::AnthropicMessages => {
                object.text("type", "file");
                id.write(object.key("file_id"));
            }
            Source::Id(..) => {
                let message = format!("{what} by file id stays with the provider of the file");
                return Err(self.request.unfit(turn, message));
            }
            Source::Text(text) => {
                object.text("type", "text").text("media_type", "text/plain");
                text.write(object.key("data"));
            }
        }
        object.end();
        Ok(out)
    }

    fn call(&mut self, call: &Call<'_>, mark: Option<CacheTtl>, array: &mut Array<'_>) {
        let Call { id, name, namespace, input, state } = call;
        self.dropped.add_if(state.is_some(), "reasoning_state");
        let mark = self.mark(mark);
        array.object(|block| {
            block.text("type", "tool_use");
            fit_id(id, ID_BYTES_MAX).write(block.key("id"));
            flat_name(namespace.as_ref(), name).write(block.key("name"));
            block.raw("input", input.object());
            write_mark(mark, block);
        });
    }

    fn result(
        &mut self,
        turn: &Turn<'_>,
        result: &CallResult<'_>,
        mark: Option<CacheTtl>,
        array: &mut Array<'_>,
    ) -> Result<(), Refusal> {
        let CallResult { id, parts, is_error } = result;
        let mut blocks = Vec::new();
        let mut inner = Array::begin(&mut blocks);
        self.blocks(turn, parts, &mut inner, |part| {
            matches!(part, Part::Text(_) | Part::Image { .. } | Part::File { .. })
        })?;
        let is_empty = inner.is_empty();
        inner.end();
        let mark = self.mark(mark);
        array.object(|block| {
            block.text("type", "tool_result");
            fit_id(id, ID_BYTES_MAX).write(block.key("tool_use_id"));
            match &parts[..] {
                _ if is_empty => {}
                [Part::Text(text)] => text.write(block.key("content")),
                _ => drop(block.raw("content", &blocks)),
            }
            if *is_error {
                block.bool("is_error", true);
            }
            write_mark(mark, block);
        });
        Ok(())
    }

    /// Thinking goes back to who signed it, and to nobody else.
    fn reasoning(&mut self, block: &Reasoning<'_>, array: &mut Array<'_>) {
        let Some(state) = self.may_return(block) else {
            self.dropped.add_if(block.state.is_some(), "reasoning_state");
            return;
        };
        array.object(|object| match state.is_redacted {
            true => {
                object.text("type", "redacted_thinking");
                state.data.write(object.key("data"));
            }
            false => {
                object.text("type", "thinking");
                block.text.write(object.key("thinking"));
                state.data.write(object.key("signature"));
            }
        });
    }

    fn tools(&mut self, body: &mut Object<'_>) {
        let request = self.request;
        let allowed = |tool: &&Tool<'_>| match &request.tool_choice {
            ToolChoice::Allowed { names, .. } => names.contains(&tool.name),
            _ => true,
        };
        if request.tools.is_empty() {
            return self.tools_of_history(body);
        }
        let mut array = Array::begin(body.key("tools"));
        for tool in request.tools.iter().filter(allowed) {
            self.tool(tool, &mut array);
        }
        array.end();
        let single = request.parallel_calls == Some(false);
        let kind = match &request.tool_choice {
            ToolChoice::Unset if single => "auto",
            ToolChoice::Unset => return,
            ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => "any",
            ToolChoice::Named(_) => "tool",
        };
        body.object("tool_choice", |choice| {
            choice.text("type", kind);
            if let ToolChoice::Named(name) = &request.tool_choice {
                request.flat_name_of(name).write(choice.key("name"));
            }
            if single && kind != "none" {
                choice.bool("disable_parallel_tool_use", true);
            }
        });
    }

    /// The API wants tools defined whose calls stand in the history, also when none may be called.
    fn tools_of_history(&mut self, body: &mut Object<'_>) {
        let mut names: Vec<Str<'_>> = Vec::new();
        for part in self.request.turns.iter().flat_map(|turn| &turn.parts) {
            if let Part::Call(call) = part {
                let name = flat_name(call.namespace.as_ref(), &call.name);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        if names.is_empty() {
            return;
        }
        body.array("tools", |array| {
            for name in &names {
                array.object(|tool| {
                    name.write(tool.key("name"));
                    tool.raw("input_schema", EMPTY_SCHEMA);
                });
            }
        });
        body.raw("tool_choice", "{\"type\":\"none\"}");
    }

    fn tool(&mut self, tool: &Tool<'_>, array: &mut Array<'_>) {
        let Tool { name, namespace, description, input, strict, cache } = tool;
        let takes_strict = self.target.quirks.strict_schema;
        self.dropped.add_if(*strict == Some(true) && !takes_strict, "tools.strict");
        let mark = self.mark(*cache);
        array.object(|object| {
            flat_name(namespace.as_ref(), name).write(object.key("name"));
            if let Some(description) = description.as_ref().filter(|text| !text.is_empty()) {
                description.write(object.key("description"));
            }
            match input {
                ToolInput::Schema(Some(schema)) => {
                    write_schema(schema.bytes(), object.key("input_schema"));
                }
                ToolInput::Schema(None) => drop(object.raw("input_schema", EMPTY_SCHEMA)),
                ToolInput::Free(_) => drop(object.raw("input_schema", Tool::FREE_SCHEMA)),
            }
            if let Some(strict) = strict.filter(|_| takes_strict) {
                object.bool("strict", strict);
            }
            write_mark(mark, object);
        });
    }

    /// A mark, as long as there are not too many.
    fn mark(&mut self, wanted: Option<CacheTtl>) -> Option<CacheTtl> {
        let ttl = wanted?;
        self.marks += 1;
        let is_beyond = self.marks > CACHE_MARKS_MAX;
        (!self.dropped.add_if(is_beyond, "cache_control")).then_some(ttl)
    }
}

const EMPTY_SCHEMA: &str = "{\"type\":\"object\",\"properties\":{}}";

fn is_system(turn: &Turn<'_>) -> bool {
    matches!(turn.role, Role::System | Role::Developer)
}

/// Text that the API takes for none, and refuses.
fn is_blank(text: &Str<'_>) -> bool {
    text.len() <= 64 && text.text().trim().is_empty()
}

fn write_mark(mark: Option<CacheTtl>, block: &mut Object<'_>) {
    let Some(ttl) = mark else { return };
    block.object("cache_control", |control| {
        control.text("type", "ephemeral");
        match ttl {
            CacheTtl::Default => {}
            CacheTtl::FiveMinutes => drop(control.text("ttl", "5m")),
            CacheTtl::OneHour => drop(control.text("ttl", "1h")),
        }
    });
}

/// Writes a schema. The API wants its type said, which is optional elsewhere.
fn write_schema(schema: &[u8], out: &mut Vec<u8>) {
    let mut says_type = false;
    let mut is_empty = true;
    let read = Cursor::new(schema).and_then(|mut cursor| {
        if cursor.kind()? != Kind::Object {
            return cursor.skip().map(drop);
        }
        cursor.object(|key, cursor| {
            is_empty = false;
            says_type |= key.is("type");
            cursor.skip().map(drop)
        })?;
        Ok(())
    });
    match schema.split_first() {
        Some((b'{', rest)) if read.is_ok() && !says_type => {
            out.extend_from_slice(b"{\"type\":\"object\"");
            if !is_empty {
                out.push(b',');
            }
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(schema),
    }
}
