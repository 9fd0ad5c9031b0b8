//! What got lost on the way, by name.

use std::borrow::Cow;

/// What a request loses on its way to a provider that has no place for it: told to the client in a
/// response header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    names: Vec<Cow<'static, str>>,
}

impl Dropped {
    /// Most names that are kept; what is beyond is counted as one more, `...`.
    pub const NAMES_MAX: usize = 24;
    /// Longest name that is told; longer ones, which a client made up, are cut.
    const NAME_BYTES_MAX: usize = 48;

    /// Adds a name of ours.
    pub fn add(&mut self, name: &'static str) {
        self.push(Cow::Borrowed(name));
    }

    /// Adds a name from the client's body, made fit for a header.
    pub fn add_outside(&mut self, name: &str) {
        let fit = |c: char| c.is_ascii_alphanumeric() || "_-.[]:/".contains(c);
        let name: String = name
            .chars()
            .take(Dropped::NAME_BYTES_MAX)
            .map(|c| if fit(c) { c } else { '?' })
            .collect();
        self.push(Cow::Owned(name));
    }

    /// Adds `name` if `condition`; tells so.
    pub fn add_if(&mut self, condition: bool, name: &'static str) -> bool {
        if condition {
            self.add(name);
        }
        condition
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: &Dropped) {
        more.names.iter().for_each(|name| self.push(name.clone()));
    }

    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, as a header lists them.
    pub fn header(&self) -> String {
        self.names.join(", ")
    }

    fn push(&mut self, name: Cow<'static, str>) {
        if self.names.contains(&name) {
            return;
        }
        match self.names.len() {
            Dropped::NAMES_MAX.. => {}
            len if len + 1 == Dropped::NAMES_MAX => self.names.push(Cow::Borrowed("...")),
            _ => self.names.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_fit_for_a_header() {
        let mut dropped = Dropped::default();
        dropped.add("seed");
        dropped.add("seed");
        dropped.add_outside("x\r\nSet-Cookie: a");
        assert_eq!(dropped.header(), "seed, x??Set-Cookie:?a");
        for index in 0..100 {
            dropped.add_outside(&format!("member{index}"));
        }
        assert_eq!(dropped.header().split(", ").count(), Dropped::NAMES_MAX);
        assert!(dropped.header().ends_with("..."));
    }
}
