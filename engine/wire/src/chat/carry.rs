//! Reasoning state on its way through clients whose protocol has no field for it.
//!
//! A provider's state (a signature, an encrypted trace) has to come back to it byte for byte. Where
//! the client's dialect has no place for it, it travels inside of what clients give back unchanged:
//! behind a tool call's id, or as an opaque value such as an Anthropic signature. So nothing is kept
//! here between two requests, and any node can serve the next one.
//!
//! In: state from an answer, ids and opaque values from a history. Out: ids and values of
//! `[A-Za-z0-9_-]` only, and the state again. Never: state handed to another than its issuer;
//! trust: what comes back is data from a client, checked for its form.

use super::{Reasoning, Str};
use crate::json::{Patch, RawStr, Span};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use models::Dialect;

/// Stands between a call's id and what it carries, and before a value that is ours.
pub const MARK: &str = "_pmst1_";
/// Largest value that is made, in bytes; state beyond it is left out.
pub const CARRIED_BYTES_MAX: usize = 256 * 1024;

/// Who made a piece of state, and may have it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// In which dialect it speaks.
    pub dialect: Dialect,
    /// Which provider: a hash of its id, 0 when not known.
    pub provider: u32,
}

impl Issuer {
    /// Somebody who speaks that dialect.
    pub fn any(dialect: Dialect) -> Issuer {
        Issuer { dialect, provider: 0 }
    }

    /// The provider of that id.
    pub fn of(dialect: Dialect, provider: &str) -> Issuer {
        Issuer { dialect, provider: fnv(provider.as_bytes()).max(1) }
    }

    /// Whether state of `self` may go to `target`. The signatures of Anthropic and Gemini hold
    /// wherever the model is served; what comes in OpenAI's dialects can only be read with the keys of
    /// the account that it was made for.
    pub fn may_return_to(self, target: Issuer) -> bool {
        let same_account = self.provider == 0 || self.provider == target.provider;
        self.dialect == target.dialect && (same_account || !self.is_bound_to_account())
    }

    fn is_bound_to_account(self) -> bool {
        matches!(self.dialect, Dialect::OpenAiResponses | Dialect::OpenAiChat)
    }
}

/// State that only its issuer can read.
#[derive(Clone, Debug, PartialEq)]
pub struct State<'b> {
    /// Who made it.
    pub issuer: Issuer,
    /// Whether it stands for reasoning that is not shown, rather than vouches for one that is:
    /// Anthropic's `redacted_thinking`.
    pub is_redacted: bool,
    /// The issuer's id of the reasoning that it belongs to (OpenAI's `rs_…`); often empty.
    pub id: Str<'b>,
    /// The state itself.
    pub data: Str<'b>,
}

impl State<'_> {
    /// The same without a lender.
    pub fn into_owned(self) -> State<'static> {
        State { id: self.id.into_owned(), data: self.data.into_owned(), ..self }
    }
}

impl Reasoning<'_> {
    /// The same without a lender.
    pub fn into_owned(self) -> Reasoning<'static> {
        Reasoning { text: self.text.into_owned(), state: self.state.map(State::into_owned) }
    }
}

/// What an id or a value carries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried<'b> {
    /// The reasoning that came between the call before and this one.
    pub reasoning: Vec<Reasoning<'b>>,
    /// How many blocks of it came before the text that stands there, for issuers that want their
    /// blocks back in order.
    pub before_text: u8,
    /// The call's own state.
    pub call: Option<State<'b>>,
}

impl Carried<'_> {
    /// Whether there is state in it: reasoning without any need not come back.
    pub fn has_state(&self) -> bool {
        self.call.is_some() || self.reasoning.iter().any(|block| block.state.is_some())
    }
}

/// The id of a call with what has to come back with it. The id as it is when there is nothing to
/// carry, or too much.
pub fn id_with<'i>(id: &'i Str<'_>, carried: &Carried<'_>) -> Str<'i> {
    match carried.has_state().then(|| packed(carried)).flatten() {
        Some(packed) => {
            let mut whole = id.escaped().to_vec();
            whole.extend_from_slice(MARK.as_bytes());
            whole.extend_from_slice(packed.as_bytes());
            Str::escaped_from(whole)
        }
        None => id.borrowed(),
    }
}

/// An id without what it carries, and that. A mark with nonsense behind it is cut off as well.
pub fn split_id<'b>(id: Str<'b>) -> (Str<'b>, Option<Carried<'static>>) {
    let Some(at) = memchr::memmem::rfind(id.escaped(), MARK.as_bytes()) else { return (id, None) };
    let carried = unpacked(&id.escaped()[at + MARK.len()..]);
    (id.cut(at), Some(carried.unwrap_or_default()))
}

/// What has to be cut out of an id before it goes to a provider as it is.
pub fn cut_of(id: RawStr<'_>) -> Option<Patch<'static>> {
    let at = memchr::memmem::rfind(id.bytes, MARK.as_bytes())?;
    let start = id.span.start + at as u32;
    Some(Patch { span: Span { start, end: id.span.end }, with: b"" })
}

/// What has to be cut out of the ids in `calls`, an array of calls as it stands at `offset`.
pub fn cuts_of(calls: &[u8], offset: usize) -> impl Iterator<Item = Patch<'static>> {
    memchr::memmem::find_iter(calls, MARK.as_bytes()).filter_map(move |at| {
        let packed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let length = calls[at..].iter().take_while(|byte| packed(byte)).count();
        // Only what ends a string is an id's.
        (calls.get(at + length) == Some(&b'"')).then(|| {
            let start = (offset + at) as u32;
            Patch { span: Span { start, end: start + length as u32 }, with: b"" }
        })
    })
}

/// A value of ours that stands for `state`, or for reasoning without any.
pub fn value_of(state: Option<&State<'_>>) -> String {
    let block = Reasoning { text: Str::EMPTY, state: state.cloned() };
    let carried = Carried { reasoning: vec![block], ..Carried::default() };
    let packed = packed(&carried).unwrap_or_default();
    format!("{}{packed}", &MARK[1..])
}

/// Reads a value: `None` when it is not ours, else the state that it stands for, if any.
pub fn read_value(value: &Str<'_>) -> Option<Option<State<'static>>> {
    let packed = value.escaped().strip_prefix(&MARK.as_bytes()[1..])?;
    let carried = unpacked(packed).unwrap_or_default();
    Some(carried.reasoning.into_iter().next().and_then(|block| block.state))
}

/// Bytes: a checksum, how many blocks came before the text, then one record for each block: a tag, and
/// with state its issuer, and texts with their lengths.
fn packed(carried: &Carried<'_>) -> Option<String> {
    let mut bytes = vec![0, 0, 0, 0, carried.before_text];
    for block in &carried.reasoning {
        put(&mut bytes, TAG_REASONING, &block.text, block.state.as_ref());
    }
    if let Some(state) = &carried.call {
        put(&mut bytes, TAG_CALL, &Str::EMPTY, Some(state));
    }
    let sum = fnv(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    (bytes.len() <= CARRIED_BYTES_MAX / 4 * 3).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

const TAG_REASONING: u8 = 0;
const TAG_CALL: u8 = 1;
const HAS_STATE: u8 = 2;
const IS_REDACTED: u8 = 4;

fn put(bytes: &mut Vec<u8>, tag: u8, text: &Str<'_>, state: Option<&State<'_>>) {
    let flags = match state {
        Some(State { is_redacted: true, .. }) => HAS_STATE | IS_REDACTED,
        Some(_) => HAS_STATE,
        None => 0,
    };
    bytes.push(tag | flags);
    put_text(bytes, text);
    if let Some(state) = state {
        bytes.push(state.issuer.dialect as u8);
        bytes.extend_from_slice(&state.issuer.provider.to_le_bytes());
        put_text(bytes, &state.id);
        put_text(bytes, &state.data);
    }
}

/// The escaped form, so that the very bytes come back.
fn put_text(bytes: &mut Vec<u8>, text: &Str<'_>) {
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.escaped());
}

fn unpacked(packed: &[u8]) -> Option<Carried<'static>> {
    if packed.len() > CARRIED_BYTES_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(packed).ok()?;
    let (sum, mut rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != fnv(rest) {
        return None;
    }
    let (&before_text, after) = rest.split_first()?;
    rest = after;
    let mut carried = Carried { before_text, ..Carried::default() };
    while let Some((&tag, after)) = rest.split_first() {
        rest = after;
        let text = take_text(&mut rest)?;
        let state = match tag & HAS_STATE {
            0 => None,
            _ => {
                let (&dialect, after) = rest.split_first()?;
                let (provider, after) = after.split_first_chunk::<4>()?;
                rest = after;
                let provider = u32::from_le_bytes(*provider);
                let issuer = Issuer { dialect: Dialect::from_index(dialect.into())?, provider };
                let is_redacted = tag & IS_REDACTED != 0;
                Some(State {
                    issuer,
                    is_redacted,
                    id: take_text(&mut rest)?,
                    data: take_text(&mut rest)?,
                })
            }
        };
        match tag & TAG_CALL {
            0 => carried.reasoning.push(Reasoning { text, state }),
            _ => carried.call = state,
        }
    }
    Some(carried)
}

/// A text from a client is not taken to be escaped as it should be: it is put between quotes and read.
fn take_text(rest: &mut &[u8]) -> Option<Str<'static>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (text, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(text);
    quoted.push(b'"');
    let mut cursor = crate::json::Cursor::new(&quoted).ok()?;
    let raw = cursor.string().ok()?;
    cursor.end().ok()?;
    Some(Str::from(raw).into_owned())
}

/// FNV-1a: finds damage, keeps out nobody.
pub(super) fn fnv(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(dialect: Dialect, provider: &str, data: &'static str) -> State<'static> {
        State {
            issuer: Issuer::of(dialect, provider),
            is_redacted: false,
            id: Str::plain("rs_1"),
            data: Str::plain(data),
        }
    }

    #[test]
    fn state_comes_back_byte_for_byte_inside_an_id() {
        let signed = state(Dialect::AnthropicMessages, "anthropic", "EqQB+/=ab");
        let reasoning = [
            Reasoning { text: Str::plain("why\n\"so\""), state: Some(signed.clone()) },
            Reasoning {
                text: Str::EMPTY,
                state: Some(State { is_redacted: true, ..signed.clone() }),
            },
        ];
        let call = state(Dialect::GeminiGenerate, "google", "sig");
        let id = Str::plain("toolu_01");
        let sent =
            Carried { reasoning: reasoning.into(), before_text: 1, call: Some(call.clone()) };
        let whole = id_with(&id, &sent);
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        assert!(whole.escaped().iter().copied().all(fit), "{whole:?}");
        let (back, carried) = split_id(whole);
        assert_eq!(back, id);
        assert_eq!(carried, Some(sent));
        assert_eq!(split_id(id.clone()), (id.clone(), None));
        assert_eq!(id_with(&id, &Carried::default()), id);
    }

    #[test]
    fn what_a_client_changed_is_not_believed() {
        let signed = state(Dialect::AnthropicMessages, "anthropic", "abc");
        let id = Str::plain("toolu_01");
        let block = Reasoning { text: Str::EMPTY, state: Some(signed.clone()) };
        let carried = Carried { reasoning: vec![block], ..Carried::default() };
        let whole = id_with(&id, &carried).text().into_owned();
        for length in id.len() + MARK.len()..whole.len() {
            let (back, carried) = split_id(Str::plain(&whole[..length]));
            assert_eq!(back, id);
            assert_eq!(carried, Some(Carried::default()), "cut to {length}");
        }
        let value = value_of(Some(&signed));
        assert_eq!(read_value(&Str::plain(&value)), Some(Some(signed)));
        assert_eq!(read_value(&Str::plain(&value[..value.len() - 1])), Some(None));
        assert_eq!(read_value(&Str::plain(&value_of(None))), Some(None));
        assert_eq!(read_value(&Str::plain("EqQBCkYI")), None);
    }

    #[test]
    fn state_returns_to_its_issuer_only() {
        let openai = Issuer::of(Dialect::OpenAiResponses, "openai");
        let azure = Issuer::of(Dialect::OpenAiResponses, "azure");
        let claude = Issuer::of(Dialect::AnthropicMessages, "anthropic");
        let unknown = Issuer::any(Dialect::AnthropicMessages);
        assert!(openai.may_return_to(openai) && !openai.may_return_to(azure));
        assert!(Issuer::any(Dialect::OpenAiResponses).may_return_to(azure));
        assert!(claude.may_return_to(unknown) && unknown.may_return_to(claude));
        assert!(!claude.may_return_to(openai));
    }

    #[test]
    fn too_much_state_is_left_out() {
        let data = "a".repeat(CARRIED_BYTES_MAX);
        let state = State {
            issuer: Issuer::any(Dialect::AnthropicMessages),
            is_redacted: false,
            id: Str::EMPTY,
            data: Str::plain(&data),
        };
        let id = Str::plain("toolu_01");
        let carried = Carried { call: Some(state), ..Carried::default() };
        assert_eq!(id_with(&id, &carried), id);
    }
}
