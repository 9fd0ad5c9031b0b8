//! Reads a Python module that consists of literals and constructor calls, without running it.
//!
//! In: source text such as `providers: list[P] = [P(id='a', price=Decimal('1.5'))]`. Out: the value
//! assigned to one name, calls kept as names with arguments. Anything else (operators,
//! comprehensions, names other than True, False, None) is an error.

use std::fmt;

/// A Python literal, or a call of something by name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    /// A list, tuple or set.
    List(Vec<Literal>),
    Map(Vec<(Literal, Literal)>),
    Call {
        name: String,
        positional: Vec<Literal>,
        named: Vec<(String, Literal)>,
    },
    /// A dotted name that is not called, as `datetime.UTC`.
    Name(String),
}

/// Where reading stopped.
#[derive(Debug)]
pub(super) struct LiteralError {
    line: usize,
    expected: &'static str,
}

impl fmt::Display for LiteralError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: expected {}; the package's form has changed, adapt the reader",
            self.line, self.expected
        )
    }
}

impl std::error::Error for LiteralError {}

impl Literal {
    /// The value assigned to `name` at the top level of `source`.
    pub(super) fn assigned(source: &str, name: &str) -> Result<Literal, LiteralError> {
        let mut reader = Reader { source, at: 0 };
        let mut line_start = 0;
        for line in source.split_inclusive('\n') {
            let rest = line.strip_prefix(name);
            if let Some(rest) = rest.filter(|rest| rest.starts_with([':', ' ', '=']))
                && let Some(equals) = rest.find(" = ")
            {
                reader.at = line_start + name.len() + equals + " = ".len();
                let value = reader.value()?;
                let rest = reader.source[reader.at..].lines().next();
                return match rest.is_none_or(|rest| rest.trim().is_empty()) {
                    true => Ok(value),
                    false => Err(reader.error("the end of the line")),
                };
            }
            line_start += line.len();
        }
        Err(reader.error("an assignment to the name"))
    }

    /// The argument of that name, of a call.
    pub(super) fn get(&self, argument: &str) -> Option<&Literal> {
        match self {
            Literal::Call { named, .. } => {
                named.iter().find(|(name, _)| name == argument).map(|(_, value)| value)
            }
            Literal::Map(entries) => {
                entries.iter().find(|(key, _)| key.text() == Some(argument)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The name that is called.
    pub(super) fn called(&self) -> Option<&str> {
        match self {
            Literal::Call { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The first argument without a name.
    pub(super) fn first(&self) -> Option<&Literal> {
        match self {
            Literal::Call { positional, .. } => positional.first(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Literal::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The digits of a number.
    pub(super) fn number(&self) -> Option<&str> {
        match self {
            Literal::Number(digits) => Some(digits),
            _ => None,
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        match self {
            Literal::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements; none of anything but a list.
    pub(super) fn list(&self) -> &[Literal] {
        match self {
            Literal::List(elements) => elements,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Literal, LiteralError> {
        self.space();
        match self.peek() {
            Some('[') => Ok(Literal::List(self.elements('[', ']')?)),
            Some('(') => self.parenthesis(),
            Some('{') => self.map(),
            Some('\'' | '"') => self.texts(),
            Some(c) if c.is_ascii_digit() || c == '-' => Ok(Literal::Number(
                self.take_while(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c)),
            )),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name_or_call(),
            _ => Err(self.error("a value")),
        }
    }

    /// A tuple, or one value in parentheses.
    fn parenthesis(&mut self) -> Result<Literal, LiteralError> {
        let start = self.at;
        let mut elements = self.elements('(', ')')?;
        let is_tuple = self.source[start..self.at].trim_end_matches(')').trim_end().ends_with(',');
        match elements.len() {
            1 if !is_tuple => Ok(elements.remove(0)),
            _ => Ok(Literal::List(elements)),
        }
    }

    fn elements(&mut self, open: char, close: char) -> Result<Vec<Literal>, LiteralError> {
        self.expect(open)?;
        let mut elements = Vec::new();
        loop {
            self.space();
            if self.eat(close) {
                return Ok(elements);
            }
            elements.push(self.value()?);
            self.space();
            if !self.eat(',') && self.peek() != Some(close) {
                return Err(self.error("a comma or the end of a list"));
            }
        }
    }

    fn map(&mut self) -> Result<Literal, LiteralError> {
        self.expect('{')?;
        let mut entries = Vec::new();
        loop {
            self.space();
            if self.eat('}') {
                return Ok(Literal::Map(entries));
            }
            let key = self.value()?;
            self.space();
            self.expect(':')?;
            entries.push((key, self.value()?));
            self.space();
            if !self.eat(',') && self.peek() != Some('}') {
                return Err(self.error("a comma or the end of a dictionary"));
            }
        }
    }

    fn name_or_call(&mut self) -> Result<Literal, LiteralError> {
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        match name.as_str() {
            "None" => return Ok(Literal::None),
            "True" => return Ok(Literal::Bool(true)),
            "False" => return Ok(Literal::Bool(false)),
            _ if self.peek() != Some('(') => return Ok(Literal::Name(name)),
            _ => self.expect('(')?,
        }
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        loop {
            self.space();
            if self.eat(')') {
                return Ok(Literal::Call { name, positional, named });
            }
            match self.argument_name() {
                Some(argument) => named.push((argument, self.value()?)),
                None => positional.push(self.value()?),
            }
            self.space();
            if !self.eat(',') && self.peek() != Some(')') {
                return Err(self.error("a comma or the end of the arguments"));
            }
        }
    }

    /// `name=` if that is next.
    fn argument_name(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if !name.is_empty() && self.eat('=') {
            return Some(name);
        }
        self.at = start;
        None
    }

    /// One text or several next to each other, which Python joins.
    fn texts(&mut self) -> Result<Literal, LiteralError> {
        let mut text = String::new();
        while let Some(quote @ ('\'' | '"')) = self.peek() {
            let triple = [quote; 3].iter().collect::<String>();
            let end = match self.source[self.at..].starts_with(&triple) {
                true => triple,
                false => quote.to_string(),
            };
            self.at += end.len();
            loop {
                if self.source[self.at..].starts_with(&end) {
                    self.at += end.len();
                    break;
                }
                match self.next().ok_or_else(|| self.error("a closing quote"))? {
                    '\\' => self.escape(&mut text)?,
                    c => text.push(c),
                }
            }
            self.space();
        }
        Ok(Literal::Text(text))
    }

    fn escape(&mut self, into: &mut String) -> Result<(), LiteralError> {
        let plain = match self.next() {
            Some('n') => "\n",
            Some('t') => "\t",
            Some('\n') => "",
            Some('\\') => "\\",
            Some('\'') => "'",
            Some('"') => "\"",
            Some('x') => return self.code(2, into),
            Some('u') => return self.code(4, into),
            Some('U') => return self.code(8, into),
            Some(c) => {
                // Python keeps what it does not know.
                into.extend(['\\', c]);
                return Ok(());
            }
            None => return Err(self.error("an escaped character")),
        };
        into.push_str(plain);
        Ok(())
    }

    /// A character by its code in that many hexadecimal digits.
    fn code(&mut self, digits: usize, into: &mut String) -> Result<(), LiteralError> {
        let code = self.source.get(self.at..self.at + digits);
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let code = code.and_then(char::from_u32);
        into.push(code.ok_or_else(|| self.error("a character's code"))?);
        self.at += digits;
        Ok(())
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        loop {
            let rest = &self.source[self.at..];
            self.at += rest.len() - rest.trim_start().len();
            if self.peek() != Some('#') {
                return;
            }
            let rest = &self.source[self.at..];
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let rest = &self.source[self.at..];
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_string()
    }

    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), LiteralError> {
        match self.eat(wanted) {
            true => Ok(()),
            false => Err(self.error("a bracket, colon or comma")),
        }
    }

    fn error(&self, expected: &'static str) -> LiteralError {
        let line = self.source[..self.at].matches('\n').count() + 1;
        LiteralError { line, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_calls_are_read() {
        let source = "import x\n\nnames: list[P] = [\n  P(  # note\n    id='a\\'b' \"c\",\n    price=Decimal('1.5'),\n    on=datetime.date(2026, 10, 14), tz=datetime.UTC,\n    when={'a': None, 'b': (1, -2.5e3,)},\n  ),\n  (True),\n]\n";
        let value = Literal::assigned(source, "names").expect("is a literal");
        let call = &value.list()[0];
        assert_eq!(call.called(), Some("P"));
        assert_eq!(call.get("id").and_then(Literal::text), Some("a'bc"));
        let price = call.get("price").and_then(Literal::first);
        assert_eq!(price.and_then(Literal::text), Some("1.5"));
        let when = call.get("when").expect("is there");
        assert_eq!(when.get("a"), Some(&Literal::None));
        assert_eq!(when.get("b").map(|b| b.list().len()), Some(2));
        assert_eq!(value.list()[1], Literal::Bool(true));
    }

    #[test]
    fn anything_else_is_refused() {
        for source in ["x = [1 + 2]", "x = f'a'", "x = [", "x = {1}", "x = 'a", "y = 1"] {
            assert!(Literal::assigned(source, "x").is_err(), "{source}");
        }
    }
}
