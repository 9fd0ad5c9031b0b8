//! The look of a text, counted while it is read: lengths, lines, marks, scripts.
//!
//! In: each character once, then the tokens. Out: [`SHAPE_FEATURES`] numbers around 0..1. Never: a
//! second pass.

use crate::ngrams::{Class, class, token_hash};

/// Features that [`Shape::features`] writes.
pub(crate) const SHAPE_FEATURES: usize = 50;

/// Scripts that are counted apart, by ranges of code points.
const SCRIPTS: [&[(u32, u32)]; 8] = [
    &[(0x400, 0x52f)],                                         // Cyrillic
    &[(0x590, 0x7ff), (0xfb50, 0xfdff), (0xfe70, 0xfefe)],     // Hebrew, Arabic
    &[(0x900, 0xdff)],                                         // scripts of India
    &[(0x1100, 0x11ff), (0xac00, 0xd7a3)],                     // Hangul
    &[(0x3040, 0x30ff)],                                       // kana
    &[(0x3400, 0x9fff), (0xf900, 0xfaff), (0x20000, 0x3ffff)], // Han
    &[(0xc0, 0x24f), (0x1e00, 0x1eff)],                        // Latin with marks
    &[(0xe00, 0xeff), (0x1000, 0x109f), (0x1780, 0x17ff)],     // Thai and neighbours
];

/// What is counted over a text.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    chars: u32,
    /// How often each ASCII character occurs, as it stands.
    ascii: Counts,
    /// How often others occur that fold to it.
    folded: Counts,
    foreign: u32,
    cjk: u32,
    scripts: [u32; SCRIPTS.len()],
    /// Line breaks that became tokens.
    pub(crate) newlines: u32,
    pub(crate) punctuation: u32,
    /// Marks of quotation and of money beyond ASCII.
    foreign_quotes: u32,
    foreign_money: u32,
    slashes: u32,
    emoji: u32,
    decimals: u32,
    starts_small: bool,
    lines: Lines,
    before: [u32; 2],
}

/// A count per ASCII character: adding to one is cheaper than asking of each character what it is.
#[derive(Debug)]
struct Counts([u32; 128]);

impl Default for Counts {
    fn default() -> Counts {
        Counts([0; 128])
    }
}

#[derive(Debug, Default)]
struct Lines {
    count: u32,
    full: u32,
    indented: u32,
    listed: u32,
    options: u32,
    code_ends: u32,
    longest: u32,
    first: u32,
    last: u32,
    question_in_first: bool,
    question_in_last: bool,
    /// Of the open line: characters, first ones, leading blanks, last one, whether it asks.
    chars: u32,
    start: [u32; 3],
    blanks: u32,
    end: u32,
    asks: bool,
}

impl Lines {
    fn see(&mut self, c: u32) {
        if c == '\n' as u32 {
            self.close();
            return;
        }
        if matches!(c, 0x20 | 0x09) {
            self.blanks += u32::from(self.chars == 0) * if c == 9 { 4 } else { 1 };
            self.chars += u32::from(self.chars > 0);
            return;
        }
        if let Some(slot) = self.start.get_mut(self.chars as usize) {
            *slot = c;
        }
        self.chars += 1;
        self.end = c;
        self.asks |= c == '?' as u32;
    }

    fn close(&mut self) {
        self.count += 1;
        if self.chars > 0 {
            let is_in = |set: &str, c: u32| c < 0x80 && set.bytes().any(|b| u32::from(b) == c);
            self.full += 1;
            self.indented += u32::from(self.blanks >= 2);
            let [first, second, third] = self.start;
            let numbered = is_in("0", first)
                && (is_in(".)", second) || is_in("0", second) && is_in(".)", third));
            self.listed +=
                u32::from(is_in("-*", first) && second != first || first == 0x2022 || numbered);
            let bracketed =
                is_in("(", first) && (0x61..=0x6a).contains(&second) && is_in(")", third);
            self.options +=
                u32::from((0x61..=0x6a).contains(&first) && is_in(".):", second) || bracketed);
            self.code_ends += u32::from(is_in(";{}),", self.end));
            self.longest = self.longest.max(self.chars);
            if self.full == 1 {
                (self.first, self.question_in_first) = (self.chars, self.asks);
            }
            (self.last, self.question_in_last) = (self.chars, self.asks);
        }
        (self.chars, self.start, self.blanks, self.end, self.asks) = (0, [0; 3], 0, 0, false);
    }
}

impl Shape {
    pub(crate) fn see(&mut self, c: char, folded: u32) {
        self.chars += 1;
        self.lines.see(folded);
        let c = c as u32;
        match folded {
            0x2f => self.slashes += u32::from(self.before == [0x3a, 0x2f]),
            0x30 => self.decimals += u32::from(self.before == [0x30, 0x2e]),
            _ => {}
        }
        self.before = [self.before[1], folded];
        match self.ascii.0.get_mut(c as usize) {
            Some(count) => *count += 1,
            None => self.see_foreign(c, folded),
        }
        if self.chars == 1 {
            self.starts_small = (0x61..=0x7a).contains(&c);
        }
    }

    fn see_foreign(&mut self, c: u32, folded: u32) {
        self.foreign += 1;
        if let Some(count) = self.folded.0.get_mut(folded as usize) {
            *count += 1;
        }
        self.foreign_money += u32::from(matches!(folded, 0xa3 | 0xa5 | 0x20a0..=0x20bf));
        self.cjk += u32::from(class(folded) == Class::Cjk);
        self.foreign_quotes += u32::from(matches!(c, 0xab | 0xbb | 0x300c..=0x300f | 0x201e));
        self.emoji += u32::from(matches!(c, 0x1f300..=0x1faff | 0x2600..=0x27bf));
        for (count, ranges) in self.scripts.iter_mut().zip(SCRIPTS) {
            if ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) {
                *count += 1;
                break;
            }
        }
    }

    /// Writes the features; their order is part of every trained model.
    pub(crate) fn features(&mut self, bytes: usize, tokens: &[u32], into: &mut [f32]) {
        self.lines.close();
        let lines = &self.lines;
        let newline = token_hash("\n");
        let last = tokens.iter().rev().find(|&&token| token != newline);
        let ends_with = |mark: &str| f32::from(u8::from(last == Some(&token_hash(mark))));
        let per_char = |count: u32| count as f32 / self.chars.max(1) as f32;
        let per_token = |count: u32| count as f32 / tokens.len().max(1) as f32;
        let per_line = |count: u32| count as f32 / lines.full.max(1) as f32;
        let up_to = |count: u32, most: u32| count.min(most) as f32 / most as f32;
        let log = |count: u32, scale: f32| (count as f32).ln_1p() / scale;
        let flag = |is: bool| f32::from(u8::from(is));
        let words =
            tokens.len() as u32 - (self.newlines + self.punctuation).min(tokens.len() as u32);
        let foreign_letters: u32 = self.scripts.iter().sum();
        let sum = |counts: &Counts, set: &[u8]| -> u32 {
            set.iter().filter_map(|&c| counts.0.get(usize::from(c))).sum()
        };
        let marks = |set: &[u8]| sum(&self.ascii, set) + sum(&self.folded, set);
        let within = |counts: &Counts, first: u8, last: u8| -> u32 {
            counts.0[usize::from(first)..=usize::from(last)].iter().sum()
        };
        let digits = within(&self.ascii, b'0', b'9');
        let capitals = within(&self.ascii, b'A', b'Z');
        let letters = capitals + within(&self.ascii, b'a', b'z') + within(&self.folded, b'a', b'z');
        let features: [f32; SHAPE_FEATURES] = [
            log(bytes as u32, 8.0),
            log(tokens.len() as u32, 6.0),
            per_token(self.newlines),
            per_token(self.punctuation),
            per_char(digits),
            per_char(capitals),
            per_char(self.foreign),
            per_char(self.cjk),
            up_to(marks(b"?"), 4),
            ends_with("?"),
            ends_with(".").max(ends_with(":")),
            up_to(marks(b"`"), 6),
            up_to(marks(b"|"), 16),
            per_token(marks(b"{};")),
            per_token(marks(b"()[]=")),
            per_token(marks(b"+-*/^\\$")),
            log(lines.count, 5.0),
            log(lines.longest, 8.0),
            log(lines.first, 8.0),
            log(lines.last, 8.0),
            flag(lines.question_in_first),
            flag(lines.question_in_last),
            per_line(lines.indented),
            per_line(lines.listed),
            up_to(lines.options, 4),
            per_line(lines.code_ends),
            per_token(marks(b",")),
            up_to(marks(b"\"") + self.foreign_quotes, 6),
            up_to(marks(b":"), 6),
            up_to(marks(b"<>"), 8),
            up_to(marks(b"\\$"), 8),
            up_to(marks(b"@"), 3),
            up_to(self.slashes, 3),
            up_to(marks(b"#_"), 8),
            per_char(self.scripts[0]),
            per_char(self.scripts[1]),
            per_char(self.scripts[2]),
            per_char(self.scripts[3]),
            per_char(self.scripts[4]),
            per_char(self.scripts[5]),
            per_char(self.scripts[6]),
            per_char(self.scripts[7]),
            2.0 * per_char(letters.min(foreign_letters)),
            up_to(self.emoji, 3),
            flag(self.starts_small),
            flag(
                self.chars > 0
                    && ends_with("?") + ends_with(".") + ends_with(":") + ends_with("!") == 0.0,
            ),
            letters as f32 / words.max(1) as f32 / 10.0,
            up_to(marks(b"!"), 3),
            up_to(marks(b"$") + self.foreign_money, 3),
            up_to(self.decimals, 8),
        ];
        into.copy_from_slice(&features);
        for feature in into {
            *feature = feature.min(4.0);
        }
    }
}
