//! The grammar, the limits, and what serde_json thinks of the same texts.

use super::*;
use proptest::prelude::*;

fn check(text: &[u8]) -> Result<()> {
    let mut cursor = Cursor::new(text)?;
    cursor.skip()?;
    cursor.end()
}

#[test]
fn the_grammar_is_held() {
    let good: &[&str] = &[
        "{}",
        "[]",
        " [ ] ",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.5e3",
        "1E-7",
        "\"\"",
        r#""\u006dodel \ud83d\ude00 \/""#,
        r#"{"a":[1,{"b":null}],"c":"d"}"#,
        "\"\u{2028}\"",
        r#""\ud800""#,
        "[[],{},[{}]]",
        "1234567890123456789012",
    ];
    let bad: &[&str] = &[
        "",
        " ",
        "{",
        "[",
        "{]",
        "[}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "-",
        "nul",
        "tru",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12",
        "\"a\nb\"",
        "\"\u{0}\"",
        "{} {}",
        "1 2",
        "[1 2]",
        "// c\n1",
        "\u{feff}{}",
        "'a'",
        "[1,,2]",
        "{,}",
        "{\"a\":1 \"b\":2}",
    ];
    for text in good {
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok() || text.contains("ud800"));
    }
    for text in bad {
        assert!(check(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(check(b"\"\xff\"").unwrap_err().kind, JsonErrorKind::BadUtf8);
}

#[test]
fn depth_has_a_limit_and_the_stack_does_not_grow() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(check(nested(DEPTH_MAX as usize).as_bytes()), Ok(()));
    let error = check(nested(DEPTH_MAX as usize + 1).as_bytes()).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooDeep);
    assert_eq!(check("[".repeat(10_000_000).as_bytes()).unwrap_err().kind, JsonErrorKind::TooDeep);
}

#[test]
fn keys_are_compared_by_meaning() {
    let text = br#"{"\u006dodel":"a\tb"}"#;
    let mut seen = String::new();
    Cursor::new(text)
        .unwrap()
        .object(|key, cursor| {
            assert!(key.is("model"));
            seen = cursor.string()?.text().into_owned();
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, "a\tb");
}

#[test]
fn patches_change_their_spans_only() {
    let text = br#"{"model":"auto","n":1}"#;
    let span = Span { start: 10, end: 14 };
    let insert = Span { start: 1, end: 1 };
    let patches = [Patch { span: insert, with: b"\"x\":2," }, Patch { span, with: b"gpt" }];
    let mut out = Vec::new();
    let rest = patch_into(text, &patches, &mut out);
    out.extend_from_slice(&text[rest..]);
    assert_eq!(out, br#"{"x":2,"model":"gpt","n":1}"#);
    assert_eq!(out.len(), patched_len(text, &patches));
}

#[test]
fn documents_are_bounded() {
    let document = Document::read(br#"{"error":{"message":"no","code":null}}"#).unwrap();
    assert_eq!(document.text(&["error", "message"]), Some("no"));
    assert_eq!(document.text(&["error", "code"]), None);
    assert!(Document::read("[".repeat(60_000).as_bytes()).is_none());
    assert!(Document::read(&vec![b' '; Document::BYTES_MAX + 1]).is_none());
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(".*", inner, 0..8)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn what_serde_writes_we_read(value in json()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(check(&text), Ok(()));
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        prop_assert_eq!(check(&pretty), Ok(()));
    }

    #[test]
    fn what_we_accept_serde_accepts(text in r#"[\[\]{}",:0-9eE+.\-a-z\\ u]{0,24}"#) {
        if check(text.as_bytes()).is_ok() && !text.contains("\\ud") {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        } else if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            prop_assert!(check(text.as_bytes()).is_ok(), "{}", text);
        }
    }

    #[test]
    fn strings_survive_both_ways(text in ".*") {
        let mut written = Vec::new();
        write_string(&text, &mut written);
        let raw = Cursor::new(&written).unwrap().string().map(|raw| raw.text().into_owned());
        prop_assert_eq!(raw, Ok(text.clone()));
        let by_serde = serde_json::to_vec(&text).unwrap();
        let raw = Cursor::new(&by_serde).unwrap().string().map(|raw| raw.text().into_owned());
        prop_assert_eq!(raw, Ok(text));
    }

    #[test]
    fn hostile_bytes_end(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&text);
    }
}
