//! Schemas: Google's own form of one, which is a cut of OpenAPI's, and JSON Schema.
//!
//! In: a schema as it stands in a body. Out: the same in the other form. What becomes of each keyword
//! stands in one table for each way; a keyword that no table knows stays. Never: a reference resolved,
//! or a name of a property taken for a keyword.

use super::form::{Result, camel};
use crate::chat::Json;
use crate::json::write::{Array, Object};
use crate::json::{Cursor, Kind, RawStr};

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It stays with its value.
    Keep,
    /// It goes: the target does not know it, and it forbids nothing.
    Drop,
    /// Its value is a schema.
    Schema,
    /// Its value is a list of schemas.
    Schemas,
    /// Its value is an object of schemas by names of the user.
    Named,
    /// Its value is the name of a type, perhaps in upper case.
    Type,
    /// Its value is a number, perhaps in quotes.
    Number,
    /// Whether `null` is allowed, too; becomes part of the type.
    Nullable,
    /// The only value that is allowed; becomes an `enum` of one.
    Const,
}

type Table = &'static [(&'static str, Rule)];

/// Google's form, as it is read into JSON Schema. The names are in camel case, as the JSON form of
/// protocol buffers writes them; its 64-bit numbers stand in quotes.
const FROM_GOOGLE: Table = &[
    ("type", Rule::Type),
    ("nullable", Rule::Nullable),
    ("items", Rule::Schema),
    ("anyOf", Rule::Schemas),
    ("properties", Rule::Named),
    ("minItems", Rule::Number),
    ("maxItems", Rule::Number),
    ("minLength", Rule::Number),
    ("maxLength", Rule::Number),
    ("minProperties", Rule::Number),
    ("maxProperties", Rule::Number),
    ("propertyOrdering", Rule::Drop),
    ("example", Rule::Drop),
];

/// JSON Schema as it is written for Google's fields of that kind, which take most of it.
const TO_GOOGLE: Table = &[
    ("$schema", Rule::Drop),
    ("$comment", Rule::Drop),
    ("const", Rule::Const),
    ("items", Rule::Schema),
    ("prefixItems", Rule::Schemas),
    ("anyOf", Rule::Schemas),
    ("oneOf", Rule::Schemas),
    ("allOf", Rule::Schemas),
    ("not", Rule::Schema),
    ("properties", Rule::Named),
    ("patternProperties", Rule::Named),
    ("$defs", Rule::Named),
    ("definitions", Rule::Named),
    ("additionalProperties", Rule::Schema),
];

/// Google's form as JSON Schema.
pub(super) fn from_google(schema: &[u8]) -> Option<Json<'static>> {
    rewritten(schema, FROM_GOOGLE)
}

/// JSON Schema without what Google stumbles over.
pub(super) fn to_google(schema: &[u8]) -> Option<Json<'static>> {
    rewritten(schema, TO_GOOGLE)
}

fn rewritten(schema: &[u8], table: Table) -> Option<Json<'static>> {
    let mut out = Vec::with_capacity(schema.len() + 16);
    let mut cursor = Cursor::new(schema).ok()?;
    rewrite(&mut cursor, table, &mut out).ok()?;
    Some(Json::checked(out))
}

/// Rewrites one schema. Depth is bounded by the cursor's.
fn rewrite(cursor: &mut Cursor<'_>, table: Table, out: &mut Vec<u8>) -> Result<()> {
    if cursor.kind()? != Kind::Object {
        // `true` and `false` are schemas as well.
        out.extend_from_slice(cursor.raw()?);
        return Ok(());
    }
    let mut object = Object::begin(out);
    let mut types: Option<RawStr<'_>> = None;
    let mut is_nullable = false;
    cursor.object(|key, cursor| {
        // A name with escapes is none of a keyword; it stays as it is.
        let name = match table == FROM_GOOGLE && !key.escaped {
            true => camel(&key),
            false => String::from_utf8_lossy(key.bytes),
        };
        let known = table.iter().find(|(known, _)| *known == name);
        let rule = known.map_or(Rule::Keep, |(_, rule)| *rule);
        match (rule, cursor.kind()?) {
            (Rule::Drop, _) => drop(cursor.skip()?),
            (Rule::Schema, _) => rewrite(cursor, table, object.key(&name))?,
            (Rule::Schemas, Kind::Array) => {
                let mut array = Array::begin(object.key(&name));
                cursor.array(|cursor| rewrite(cursor, table, array.element()))?;
                array.end();
            }
            (Rule::Named, Kind::Object) => {
                let mut named = Object::begin(object.key(&name));
                cursor.object(|key, cursor| {
                    rewrite(cursor, table, named.key(&String::from_utf8_lossy(key.bytes)))
                })?;
                named.end();
            }
            (Rule::Type, Kind::String) => types = Some(cursor.string()?),
            (Rule::Number, Kind::String) => {
                let number = cursor.string()?;
                // What is no number in its quotes would only be refused.
                if number.text().parse::<u64>().is_ok() {
                    object.raw(&name, number.bytes);
                }
            }
            (Rule::Nullable, Kind::Bool) => is_nullable = cursor.bool()?,
            (Rule::Const, _) => {
                let mut array = Array::begin(object.key("enum"));
                array.element().extend_from_slice(cursor.raw()?);
                array.end();
            }
            _ => object.key(&name).extend_from_slice(cursor.raw()?),
        }
        Ok(())
    })?;
    if let Some(name) = types.map(|name| name.text().to_ascii_lowercase()) {
        match (&*name, is_nullable) {
            ("type_unspecified", _) => {}
            (_, false) => drop(object.text("type", &name)),
            (_, true) => drop(object.array("type", |array| {
                crate::json::write_string(&name, array.element());
                array.element().extend_from_slice(b"\"null\"");
            })),
        }
    }
    object.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value(json: Option<Json<'static>>) -> Value {
        serde_json::from_slice(json.expect("a schema").bytes()).expect("JSON")
    }

    #[test]
    fn googles_form_becomes_json_schema() {
        let google = json!({
            "type": "OBJECT",
            "properties": {
                "type": {"type": "STRING", "format": "enum", "enum": ["A", "B"]},
                "nullable": {"type": "INTEGER", "nullable": true},
                "list": {"type": "ARRAY", "items": {"type": "NUMBER"}, "min_items": "1", "maxItems": 3},
                "either": {"any_of": [{"type": "BOOLEAN"}, {"type": "string", "example": "x"}]},
            },
            "required": ["type"],
            "propertyOrdering": ["type", "nullable"],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "type": {"type": "string", "format": "enum", "enum": ["A", "B"]},
                "nullable": {"type": ["integer", "null"]},
                "list": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
                "either": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
            },
            "required": ["type"],
        });
        assert_eq!(value(from_google(google.to_string().as_bytes())), expected);
    }

    #[test]
    fn json_schema_loses_only_what_google_stumbles_over() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "const": {"const": 7},
                "$schema": {"type": ["string", "null"], "pattern": "^a"},
                "next": {"$ref": "#/$defs/node"},
            },
            "$defs": {"node": {"oneOf": [{"const": "x"}, true]}},
            "additionalProperties": false,
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "const": {"enum": [7]},
                "$schema": {"type": ["string", "null"], "pattern": "^a"},
                "next": {"$ref": "#/$defs/node"},
            },
            "$defs": {"node": {"oneOf": [{"enum": ["x"]}, true]}},
            "additionalProperties": false,
        });
        assert_eq!(value(to_google(schema.to_string().as_bytes())), expected);
    }

    #[test]
    fn a_schema_as_deep_as_a_body_may_be_is_rewritten() {
        let depth = 120;
        let deep = format!("{}{{}}{}", "{\"items\":".repeat(depth), "}".repeat(depth));
        assert_eq!(to_google(deep.as_bytes()).unwrap().bytes(), deep.as_bytes());
        let too_deep = format!("{}{{}}{}", "{\"items\":".repeat(200), "}".repeat(200));
        assert!(to_google(too_deep.as_bytes()).is_none());
    }
}
