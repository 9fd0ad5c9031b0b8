//! How likely a model is to succeed, and how much it will write.
//!
//! The probability of success is a two-parameter item-response curve:
//!
//! `p = logistic(SLOPE·ability − HARDNESS·logit(difficulty))`
//!
//! Ability is per task and standardised: mean 0 and standard deviation 1 over the scored models.
//! Difficulty is the share of models that fail, so a model of mean ability succeeds with about
//! 1 − difficulty, and no constant term is needed.
//!
//! Where the two constants come from: a logistic regression on recorded outcomes of 26 to 43
//! models, each on 926 grade-school mathematics, 508 competition mathematics and 8,055 questions of
//! 14 university subjects; ability from each model's mean, difficulty from the *other* models'
//! share of failures. Slopes 1.28, 1.68 and 0.77; hardness 1.34, 1.41 and 1.13; constants −0.05 to
//! 0.12. With a difficulty known only from five of the models (then regressed to its mean, as a
//! calibrated prediction would be): slopes 1.07, 1.41, 0.65 and hardness 1.22, 1.31, 1.05,
//! constants below 0.08. The values here are the middle of the latter, since a classifier knows
//! less than a vote of all models. In the 14 subjects, what a model is better or worse at than its
//! mean says has a standard deviation of 0.36: that is why abilities are per task.

use crate::approx;

/// Change of the log-odds of success per standard deviation of ability.
pub(crate) const SLOPE: f32 = 1.05;

/// Change of the log-odds of failure per log-odds of difficulty.
pub(crate) const HARDNESS: f32 = 1.2;

/// Difficulties are taken to be within this of 0 and 1: nobody predicts better than that, and the
/// curve has no value at the ends.
const DIFFICULTY_MARGIN: f32 = 0.02;

/// What difficulty takes from the log-odds of success.
pub(crate) fn hardness(difficulty: f32) -> f32 {
    let difficulty = difficulty.clamp(DIFFICULTY_MARGIN, 1.0 - DIFFICULTY_MARGIN);
    HARDNESS * (difficulty / (1.0 - difficulty)).ln()
}

/// The probability that a model of that ability succeeds at a prompt of that difficulty (0..1).
pub fn success_probability(ability: f32, difficulty: f32) -> f32 {
    approx::logistic(SLOPE * ability - hardness(difficulty))
}

/// Tokens that a model which thinks will think, before its answer: 200, and 6,000 more at the top
/// of the scale, growing with the square of difficulty. Public runs of thinking models report some
/// ten thousand tokens on hard problems and a few hundred on plain questions; this stays below, as
/// most providers think at a middle effort by default.
pub fn expected_reasoning_tokens(difficulty: f32) -> f32 {
    200.0 + 6_000.0 * difficulty * difficulty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_follows_recorded_success() {
        // Ability, difficulty, success as recorded (the three sets' range), tolerance.
        let table = [
            (0.0, 0.2, 0.86, 0.06),
            (1.0, 0.2, 0.95, 0.04),
            (-1.2, 0.4, 0.34, 0.10),
            (0.0, 0.4, 0.65, 0.06),
            (1.0, 0.4, 0.85, 0.06),
            (0.0, 0.6, 0.36, 0.06),
            (1.0, 0.8, 0.31, 0.10),
        ];
        for (ability, difficulty, recorded, tolerance) in table {
            let p = success_probability(ability, difficulty);
            assert!(
                (p - recorded).abs() <= tolerance,
                "ability {ability} at {difficulty}: {p}, recorded {recorded}"
            );
        }
    }

    #[test]
    fn abler_is_likelier_and_harder_is_less_likely() {
        let steps = |from: f32| (0..40).map(move |step| from + step as f32 * 0.1);
        for ability in steps(-2.0) {
            assert!(success_probability(ability, 0.5) < success_probability(ability + 0.1, 0.5));
        }
        for difficulty in (1..19).map(|step| step as f32 * 0.05) {
            let easier = success_probability(0.3, difficulty);
            assert!(easier > success_probability(0.3, difficulty + 0.05));
        }
        for end in [0.0, 1.0] {
            let p = success_probability(0.0, end);
            assert!(p > 0.0 && p < 1.0);
        }
    }
}
