//! Names of tools for targets that know neither namespaces nor long names, and back again.
//!
//! In: the tools of a request. Out: names of `[a-zA-Z0-9_-]`, at most [`NAME_BYTES_MAX`] long, and from
//! those the tool that was meant. Never: a change of a name that every provider takes.

use super::{Request, Str, Tool, ToolInput};

/// Longest name that all providers take.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a tool as a target without namespaces gets it.
pub fn flat_name<'n>(namespace: Option<&Str<'_>>, name: &'n Str<'_>) -> Str<'n> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let whole = match namespace {
        Some(namespace) => [namespace.escaped(), b"__", name.escaped()].concat(),
        None if name.len() <= NAME_BYTES_MAX && name.escaped().iter().all(fits) => {
            return name.borrowed();
        }
        None => name.escaped().to_vec(),
    };
    if whole.len() <= NAME_BYTES_MAX && whole.iter().all(fits) {
        return Str::escaped_from(whole);
    }
    // Two long names that begin alike must stay two.
    let hash = format!("_{:08x}", super::carry::fnv(&whole));
    let head = whole.iter().take(NAME_BYTES_MAX - hash.len());
    let mut flat: Vec<u8> = head.map(|byte| if fits(byte) { *byte } else { b'_' }).collect();
    flat.extend_from_slice(hash.as_bytes());
    Str::escaped_from(flat)
}

/// The id of a call in `[a-zA-Z0-9_-]`, at most `bytes_max` long. The same for the same id, so that a
/// result still leads to its call; different for different ones.
pub fn fit_id<'i>(id: &'i Str<'_>, bytes_max: usize) -> Str<'i> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.len() <= bytes_max && id.escaped().iter().all(fits) {
        return id.borrowed();
    }
    let hash = format!("_{:08x}", super::carry::fnv(id.escaped()));
    let head = id.escaped().iter().take(bytes_max.saturating_sub(hash.len()));
    let mut fit: Vec<u8> = head.map(|byte| if fits(byte) { *byte } else { b'_' }).collect();
    fit.extend_from_slice(hash.as_bytes());
    Str::escaped_from(fit)
}

/// The tools of a request whose calls have to be told to the client in other words than the
/// provider's: those with a namespace, a changed name, or free text as input. Mostly none.
#[derive(Clone, Debug, Default)]
pub struct ToolNames {
    tools: Vec<Named>,
}

/// A tool as the client knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    flat: Str<'static>,
    /// Its group.
    pub namespace: Option<Str<'static>>,
    /// Its name in that.
    pub name: Str<'static>,
    /// Whether it takes free text.
    pub is_free: bool,
}

impl ToolNames {
    /// Those of a request.
    pub fn of(request: &Request<'_>) -> ToolNames {
        let named = |tool: &Tool<'_>| {
            let flat = flat_name(tool.namespace.as_ref(), &tool.name);
            let is_free = matches!(tool.input, ToolInput::Free(_));
            let is_plain = tool.namespace.is_none() && !is_free && flat == tool.name;
            (!is_plain).then(|| Named {
                flat: flat.into_owned(),
                namespace: tool.namespace.clone().map(Str::into_owned),
                name: tool.name.clone().into_owned(),
                is_free,
            })
        };
        ToolNames { tools: request.tools.iter().filter_map(named).collect() }
    }

    /// The tool that a provider calls by `flat`; `None` when that is the client's own name for a tool
    /// with a schema.
    pub fn find(&self, flat: &Str<'_>) -> Option<&Named> {
        self.tools.iter().find(|tool| tool.flat == *flat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_fits_and_leads_back() {
        let long = "mcp__".to_owned() + &"a".repeat(80);
        let rows = [
            (None, "weather", "weather"),
            (Some("files"), "read", "files__read"),
            (None, "a.b", "a_b_"),
            (None, &*long, "mcp__aaaa"),
        ];
        for (namespace, name, begins) in rows {
            let tool = Tool {
                name: Str::plain(name),
                namespace: namespace.map(Str::plain),
                description: None,
                input: ToolInput::Schema(None),
                strict: None,
                cache: None,
            };
            let flat = flat_name(tool.namespace.as_ref(), &tool.name).into_owned();
            let text = flat.text().into_owned();
            assert!(text.starts_with(begins) && text.len() <= NAME_BYTES_MAX, "{text}");
            let request = Request { tools: vec![tool], ..Request::default() };
            let names = ToolNames::of(&request);
            match names.find(&flat) {
                Some(found) => assert!(found.name.is(name) && !found.is_free),
                None => assert_eq!(text, name),
            }
        }
        let other = long.clone() + "b";
        assert_ne!(flat_name(None, &Str::plain(&long)), flat_name(None, &Str::plain(&other)));
    }
}
