//! Writing JSON, front to back, into a buffer of the caller.
//!
//! In: names that we chose, and values. Out: bytes appended. Never: a check of what is handed over
//! as JSON already: that came from a [`super::Cursor`].

use super::write_string;

/// An object in the making. Commas are its business; [`Object::end`] closes it.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    /// Begins an object.
    pub fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    /// Goes on with an object whose opening brace and at least one member stand in `out`.
    pub fn resume(out: &'o mut Vec<u8>) -> Object<'o> {
        Object { out, is_empty: false }
    }

    /// Writes a name, which needs no escapes; its value has to follow in the buffer that is given.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Adds a string.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        write_string(value, self.key(name));
        self
    }

    /// Adds a value that is JSON already.
    pub fn raw(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.key(name).extend_from_slice(value.as_ref());
        self
    }

    /// Adds a whole number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        let mut digits = itoa::Buffer::new();
        self.raw(name, digits.format(value))
    }

    /// Adds `true` or `false`.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// Adds an object; `fill` writes its members.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        let mut object = Object::begin(self.key(name));
        fill(&mut object);
        object.end();
        self
    }

    /// Adds an array; `fill` writes its elements.
    pub fn array(&mut self, name: &str, fill: impl FnOnce(&mut Array<'_>)) -> &mut Self {
        let mut array = Array::begin(self.key(name));
        fill(&mut array);
        array.end();
        self
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// An array in the making; [`Array::end`] closes it.
#[derive(Debug)]
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Array<'o> {
    /// Begins an array.
    pub fn begin(out: &'o mut Vec<u8>) -> Array<'o> {
        out.push(b'[');
        Array { out, is_empty: true }
    }

    /// Makes room for an element, which has to follow in the buffer that is given.
    pub fn element(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        self.out
    }

    /// Adds an object; `fill` writes its members.
    pub fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        let mut object = Object::begin(self.element());
        fill(&mut object);
        object.end();
        self
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "x\"y").number("b", 7).bool("c", true).raw("d", "[1]");
        object.object("e", |_| {}).array("f", |array| {
            array.object(|object| {
                object.number("g", 1);
            });
            array.object(|_| {});
            array.element().extend_from_slice(b"null");
        });
        object.end();
        let expected = r#"{"a":"x\"y","b":7,"c":true,"d":[1],"e":{},"f":[{"g":1},{},null]}"#;
        assert_eq!(out, expected.as_bytes());
    }
}
