//! Logarithm and exponential as short polynomials, so that loops over columns become vector code.
//!
//! In and out: `f32`. Errors are below 6·10⁻⁶, absolute for [`ln`], relative for [`exp`]: far below
//! what any score means. Never: a call, a branch or a table, which would keep the compiler from
//! using vector registers (the standard library's are calls).

use std::f32::consts::{LN_2, LOG2_E};

/// ln x for positive, finite, normal x. Anything else gives some number; callers add a floor.
///
/// x = 2ᵉ·(1+t) with t in [0, 1): ln x = e·ln 2 + ln(1+t), and ln(1+t) ≈ t·ln 2 + t(1−t)·q(t) with
/// q fitted at Chebyshev nodes. This form is exact at both ends, so there is no step between
/// one power of two and the next.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    const Q: [f32; 5] = [0.306_828_14, -0.191_813_46, 0.128_136_74, -0.068_197_1, 0.018_211_09];
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let t = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000) - 1.0;
    let q = Q[0] + t * (Q[1] + t * (Q[2] + t * (Q[3] + t * Q[4])));
    (exponent as f32 + t) * LN_2 + t * (1.0 - t) * q
}

/// eˣ for x within ±80, at whose ends it is cut.
///
/// x·log₂e = n + r with r in [−½, ½]: 2ⁿ goes into the exponent, 2ʳ is a polynomial. Adding and
/// taking away 1.5·2²³ rounds to the nearest whole number without an instruction that baseline x86
/// lacks, and leaves n in the low bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const P: [f32; 5] = [1.0, 0.693_121, 0.240_221_07, 0.055_922_036, 0.009_676_037];
    let scaled = x.clamp(-80.0, 80.0) * LOG2_E;
    let rounded = scaled + ROUND;
    let r = scaled - (rounded - ROUND);
    let power = P[0] + r * (P[1] + r * (P[2] + r * (P[3] + r * P[4])));
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    f32::from_bits(power.to_bits().wrapping_add(exponent << 23))
}

/// 1 / (1 + e⁻ˣ), above 0 and at most 1.
#[inline(always)]
pub(crate) fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ln_is_close(exponent in -30.0f32..60.0) {
            let x = exponent.exp();
            prop_assert!((ln(x) - x.ln()).abs() <= 6e-6 + exponent.abs() * 1e-6);
        }

        #[test]
        fn exp_is_close(x in -79.0f32..79.0) {
            let error = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
            // An ulp of x is an error of exp in proportion.
            prop_assert!(error <= 6e-6 + f64::from(x.abs()) * 2e-7, "{}", error);
        }

        #[test]
        fn order_is_kept(a in 1e-3f32..1e15, factor in 1.0001f32..10.0) {
            prop_assert!(ln(a) < ln(a * factor));
        }
    }

    #[test]
    fn logistic_stays_inside() {
        for x in [-1e9, -80.0, 0.0, 80.0, 1e9] {
            let p = logistic(x);
            assert!(p > 0.0 && p <= 1.0, "{x}: {p}");
        }
        assert!((logistic(0.0) - 0.5).abs() < 1e-6);
    }
}
