//! `thoughtSignature`: where this dialect carries what an issuer wants back.
//!
//! Google's own signatures pass as they are. For state of another provider a client of this dialect
//! has no other place, so it travels in the same field, packed as [`carry`] packs it for ids and in
//! base 64 as the field demands. In: a field's value. Out: whose it is, and what is in it. Never: state
//! handed to another than its issuer.

use crate::chat::{Issuer, State, Str, carry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use models::Dialect;

/// What Google takes in the place of a signature for a call that another model made.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// The same in other words.
const NO_SIGNATURE_TOO: &str = "context_engineering_is_the_way_to_go";

/// What all of our values begin with: [`carry::MARK`] in base 64, as far as whole groups go.
pub(super) const OUR_PREFIX: &[u8] = b"X3Btc3Qx";

/// What a signature stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Signature<'b> {
    /// Google's own.
    Own(State<'b>),
    /// Another provider's, packed by us.
    Carried(carry::Carried<'static>),
    /// Nothing.
    None,
}

/// Reads a signature as a client gives it back.
pub(super) fn read<'b>(value: Str<'b>) -> Signature<'b> {
    if value.is_empty() || value.is(NO_SIGNATURE) || value.is(NO_SIGNATURE_TOO) {
        return Signature::None;
    }
    if !value.escaped().starts_with(OUR_PREFIX) {
        return Signature::Own(own(value, Issuer::any(Dialect::GeminiGenerate)));
    }
    let standard = super::form::standard_base64(value);
    let carried = STANDARD.decode(standard.escaped()).ok().and_then(|packed| {
        let (_, carried) = carry::split_id(Str::escaped_from(packed));
        carried
    });
    carried.map_or(Signature::None, Signature::Carried)
}

/// Google's own signature, by that issuer.
pub(super) fn own(data: Str<'_>, issuer: Issuer) -> State<'_> {
    State { issuer, is_redacted: false, id: Str::EMPTY, data }
}

/// The value that carries all that a call has to bring back; `None` when that is nothing. Google's own
/// signature stays what it is, if nothing else has to come along.
pub(super) fn signature_of<'c>(carried: &'c carry::Carried<'_>) -> Option<Str<'c>> {
    let has_more = carried.reasoning.iter().any(|block| block.state.is_some());
    if let Some(state) = &carried.call
        && state.issuer.dialect == Dialect::GeminiGenerate
        && !has_more
    {
        return Some(state.data.borrowed());
    }
    let packed = carry::id_with(&Str::EMPTY, carried).into_owned();
    (!packed.is_empty()).then(|| Str::escaped_from(STANDARD.encode(packed.escaped()).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Reasoning;

    #[test]
    fn foreign_state_comes_back_from_a_signature() {
        let issuer = Issuer::of(Dialect::AnthropicMessages, "anthropic");
        let state =
            State { issuer, is_redacted: false, id: Str::EMPTY, data: Str::plain("EqQBCkYIBR+/=") };
        let block = Reasoning { text: Str::plain("I \"look\""), state: Some(state) };
        let carried = carry::Carried { reasoning: vec![block], before_text: 1, call: None };
        let value = signature_of(&carried).expect("something to carry").text().into_owned();
        assert!(value.as_bytes().starts_with(OUR_PREFIX), "{value}");
        // Google's SDKs hold the field as bytes and write it in the alphabet for addresses.
        for given in [value.clone(), value.replace('+', "-").replace('/', "_")] {
            assert_eq!(read(Str::plain(&given)), Signature::Carried(carried.clone()));
        }
        assert_eq!(signature_of(&carry::Carried::default()), None);
        assert_eq!(read(Str::plain(NO_SIGNATURE)), Signature::None);
        let own = "CiQB0e2Kb/+w==";
        assert!(matches!(read(Str::plain(own)), Signature::Own(state) if state.data.is(own)));
    }
}
