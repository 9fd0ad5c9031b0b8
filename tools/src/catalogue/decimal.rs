//! Exact money from decimal text.

/// `text` × 10^`shift`, rounded half up to an integer. Text is a decimal such as `0.075`, `1e-06`.
///
/// JSON numbers come here as the shortest decimal that denotes them, which is what their author
/// wrote as long as that has up to 15 digits; no binary float is multiplied.
pub(super) fn scaled(text: &str, shift: i32) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u128 = digits.parse().ok()?;
    let power = exponent + shift - fraction.len() as i32;
    let ten = |power: u32| 10u128.checked_pow(power);
    let scaled = match power {
        0.. => value.checked_mul(ten(power as u32)?)?,
        _ => match ten(power.unsigned_abs()) {
            Some(divisor) => (value + divisor / 2) / divisor,
            None => 0,
        },
    };
    u64::try_from(scaled).ok()
}

/// Pico-dollars per token from a JSON number of dollars per token.
pub(super) fn per_token(value: &serde_json::Value) -> Option<u64> {
    scaled(&value.as_number()?.to_string(), 12)
}

/// Pico-dollars per token from a JSON number of dollars per million tokens.
pub(super) fn per_million(value: &serde_json::Value) -> Option<u64> {
    scaled(&value.as_number()?.to_string(), 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, shift, expected) in [
            ("0.075", 6, Some(75_000)),
            ("1.25e-06", 12, Some(1_250_000)),
            ("1.25e-6", 12, Some(1_250_000)),
            ("5e-8", 12, Some(50_000)),
            ("30", 6, Some(30_000_000)),
            ("0", 6, Some(0)),
            ("0.0000005", 6, Some(1)),
            ("0.00000049", 6, Some(0)),
            ("1e-40", 12, Some(0)),
            ("-1", 6, None),
            ("x", 6, None),
            ("", 6, None),
            ("1e30", 6, None),
        ] {
            assert_eq!(scaled(text, shift), expected, "{text}");
        }
        let float = serde_json::json!(4.35e-7);
        assert_eq!(per_token(&float), Some(435_000));
    }
}
