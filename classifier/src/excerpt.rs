//! The bounded part of a conversation that is looked at.
//!
//! In: the system prompt and the last user turn, of any length. Out: at most
//! [`EXCERPT_BYTES_MAX`] bytes: the head of the system prompt, then the user's turn, whole when it is
//! short, head and tail when not (instructions stand at either end of a long paste). The cost is the
//! same for 2 KB and 1 MB. Never: an allocation after the first call, or a cut inside a character.
//! Training cuts alike (`train/data.py`), and `testdata/ngrams.json` holds both to it.

/// Bytes of a long turn's beginning.
pub(crate) const HEAD_BYTES: usize = 1200;
/// Bytes of a long turn's end.
pub(crate) const TAIL_BYTES: usize = 600;
/// Bytes of the system prompt's beginning.
pub(crate) const SYSTEM_BYTES: usize = 240;
/// The most that an excerpt holds, separators included.
pub const EXCERPT_BYTES_MAX: usize = SYSTEM_BYTES + 2 + HEAD_BYTES + 1 + TAIL_BYTES;

/// A reused buffer for one excerpt.
#[derive(Debug)]
pub struct Excerpt {
    text: String,
}

impl Default for Excerpt {
    fn default() -> Excerpt {
        Excerpt { text: String::with_capacity(EXCERPT_BYTES_MAX) }
    }
}

impl Excerpt {
    /// The excerpt of a conversation whose last user turn is one string.
    pub fn build(&mut self, system: Option<&str>, last_user: &str) -> &str {
        self.build_parts(system, &[last_user])
    }

    /// The excerpt of a conversation whose last user turn has several text parts; they count as one
    /// text with line breaks between.
    pub fn build_parts(&mut self, system: Option<&str>, last_user: &[&str]) -> &str {
        self.text.clear();
        if let Some(system) = system.filter(|system| !system.is_empty()) {
            self.text.push_str(head(system, SYSTEM_BYTES));
            self.text.push_str("\n\n");
        }
        let total = last_user.iter().map(|part| part.len() + 1).sum::<usize>().saturating_sub(1);
        if total <= HEAD_BYTES + TAIL_BYTES {
            self.push_head(last_user, total);
        } else {
            self.push_head(last_user, HEAD_BYTES);
            self.text.push('\n');
            self.push_tail(last_user, TAIL_BYTES);
        }
        &self.text
    }

    /// The excerpt that was built last.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn push_head(&mut self, parts: &[&str], mut room: usize) {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 && room > 0 {
                self.text.push('\n');
                room -= 1;
            }
            let cut = head(part, room);
            self.text.push_str(cut);
            room -= cut.len();
            if cut.len() < part.len() {
                return;
            }
        }
    }

    fn push_tail(&mut self, parts: &[&str], room: usize) {
        let mut first = parts.len();
        let mut first_cut = "";
        let mut room = Some(room);
        // A part takes its own bytes and those of the break before it; with 0 left the break still stands.
        while let Some(left) = room
            && first > 0
        {
            first -= 1;
            first_cut = tail(parts[first], left);
            if first_cut.len() < parts[first].len() {
                break;
            }
            room = left.checked_sub(first_cut.len() + 1);
        }
        self.text.push_str(first_cut);
        for part in parts.iter().skip(first + 1) {
            self.text.push('\n');
            self.text.push_str(part);
        }
    }
}

fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn tail(text: &str, most: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(most))..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_turns_are_whole() {
        let mut excerpt = Excerpt::default();
        assert_eq!(excerpt.build(None, "hello"), "hello");
        assert_eq!(excerpt.build(Some(""), "hello"), "hello");
        assert_eq!(excerpt.build(Some("Be brief."), "hello"), "Be brief.\n\nhello");
        assert_eq!(excerpt.build_parts(None, &["one", "two"]), "one\ntwo");
        assert_eq!(excerpt.build_parts(None, &[]), "");
    }

    #[test]
    fn long_turns_keep_head_and_tail() {
        let long = format!("START{}END", "x".repeat(100_000));
        let mut excerpt = Excerpt::default();
        let text = excerpt.build(None, &long);
        assert_eq!(text.len(), HEAD_BYTES + 1 + TAIL_BYTES);
        assert!(text.starts_with("START") && text.ends_with("END"));
    }

    #[test]
    fn a_part_that_fills_the_tail_keeps_the_break_before_it() {
        let parts = ["a".repeat(1500), "b".repeat(TAIL_BYTES - 1)];
        let (mut one, mut many) = (Excerpt::default(), Excerpt::default());
        let joined = one.build(None, &parts.join("\n"));
        assert_eq!(joined, many.build_parts(None, &[&parts[0], &parts[1]]));
    }

    proptest! {
        #[test]
        fn parts_are_cut_like_their_joined_text(
            parts in prop::collection::vec("[aé漢🎉]{0,700}", 0..5),
            system in prop::option::of("[aé漢]{0,200}"),
        ) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let (mut one, mut many) = (Excerpt::default(), Excerpt::default());
            let joined = parts.join("\n");
            let many = many.build_parts(system.as_deref(), &parts);
            prop_assert_eq!(one.build(system.as_deref(), &joined), many);
            prop_assert!(many.len() <= EXCERPT_BYTES_MAX);
        }
    }
}
