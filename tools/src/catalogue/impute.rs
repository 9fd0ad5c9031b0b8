//! Abilities of models that nobody has measured, from what is known of every model.
//!
//! A least-squares line through the measured models: over the logarithm of the output price, whether
//! it reasons, and the release date where that is known. A measured ability is never touched, an
//! imputed one is taken anew, so that the figures follow from the measured ones alone.

use models::catalogue::{AbilityBasis, AbilitySource, ModelKind, ModelSource};

/// Imputed abilities stay within this many deviations: a line has no say beyond its points.
const LOGIT_MAX: f64 = 2.0;

/// Imputes the abilities that are not measured and returns how many.
pub(super) fn impute(models: &mut [ModelSource]) -> usize {
    let lines = [Line::fit(models, dated), Line::fit(models, undated)];
    let mut filled = 0;
    for model in models {
        if is_measured(model) || model.kind == Some(ModelKind::Embedding) {
            continue;
        }
        let features = [dated(model), undated(model)];
        let known = features.iter().zip(&lines).find_map(|(features, line)| {
            let (features, line) = (features.as_ref()?, line.as_ref()?);
            Some((line.at(features).clamp(-LOGIT_MAX, LOGIT_MAX), line.error))
        });
        if let Some((logit, error)) = known {
            model.ability = Some(AbilitySource {
                basis: AbilityBasis::Imputed,
                overall: rounded(logit),
                error: Some(rounded(error)),
                tasks: Default::default(),
            });
            filled += 1;
        }
    }
    filled
}

fn is_measured(model: &ModelSource) -> bool {
    let ability = model.ability.as_ref();
    ability.is_some_and(|ability| ability.basis == AbilityBasis::Measured)
}

/// Three decimals, as the files have them.
fn rounded(value: f64) -> f32 {
    ((value * 1000.0).round() / 1000.0) as f32
}

/// What the line goes over, with the release date.
fn dated(model: &ModelSource) -> Option<Vec<f64>> {
    let mut features = undated(model)?;
    let mut parts = model.released.as_deref()?.split('-');
    let mut number = || parts.next().and_then(|part| part.parse::<f64>().ok());
    let (year, month) = (number()?, number()?);
    features.push(year - 2025.0 + (month - 1.0) / 12.0);
    Some(features)
}

/// Without it: one, log price, reasoning.
fn undated(model: &ModelSource) -> Option<Vec<f64>> {
    let prices = model.offers.iter().filter_map(|offer| offer.price?.output);
    let mut prices: Vec<u64> = prices.filter(|price| *price > 0).collect();
    prices.sort_unstable();
    let price = *prices.get(prices.len() / 2)? as f64;
    let can = model.can.as_deref().unwrap_or_default();
    let reasons = can.iter().any(|name| name == "reasoning");
    Some(vec![1.0, (price / 1e6).ln(), f64::from(u8::from(reasons))])
}

struct Line {
    weights: Vec<f64>,
    /// Standard deviation of what the line leaves over.
    error: f64,
}

impl Line {
    /// The line through the measured models with features; none when they are too few.
    fn fit(models: &[ModelSource], features: fn(&ModelSource) -> Option<Vec<f64>>) -> Option<Line> {
        let points: Vec<(Vec<f64>, f64)> = models
            .iter()
            .filter(|model| is_measured(model))
            .filter_map(|model| {
                let ability = model.ability.as_ref()?;
                Some((features(model)?, f64::from(ability.overall)))
            })
            .collect();
        let size = points.first()?.0.len();
        if points.len() < 10 * size {
            return None;
        }
        let mut matrix = vec![vec![0.0; size + 1]; size];
        for (x, y) in &points {
            for row in 0..size {
                for column in 0..size {
                    matrix[row][column] += x[row] * x[column];
                }
                matrix[row][size] += x[row] * y;
            }
        }
        let mut line = Line { weights: solve(matrix)?, error: 0.0 };
        let squares = points.iter().map(|(x, y)| (y - line.at(x)).powi(2));
        line.error = (squares.sum::<f64>() / (points.len() - size) as f64).sqrt();
        Some(line)
    }

    fn at(&self, features: &[f64]) -> f64 {
        self.weights.iter().zip(features).map(|(w, x)| w * x).sum()
    }
}

/// Solves a system whose last column is the right side, by elimination with pivots.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = rows.len();
    for at in 0..size {
        let pivot = (at..size).max_by(|a, b| rows[*a][at].abs().total_cmp(&rows[*b][at].abs()))?;
        rows.swap(at, pivot);
        let divisor = rows[at][at];
        if divisor.abs() < 1e-9 {
            return None;
        }
        rows[at].iter_mut().for_each(|cell| *cell /= divisor);
        let base = rows[at].clone();
        for (other, row) in rows.iter_mut().enumerate() {
            if other != at {
                let factor = row[at];
                let cells = row.iter_mut().zip(&base);
                cells.for_each(|(cell, base)| *cell -= factor * base);
            }
        }
    }
    Some(rows.into_iter().map(|row| row[size]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::catalogue::{OfferSource, PriceSource};

    fn model(month: u32, ability: Option<f32>) -> ModelSource {
        ModelSource {
            id: format!("lab/m{month}"),
            released: Some(format!("2025-{month:02}")),
            can: Some(match month % 2 {
                0 => vec!["reasoning".into()],
                _ => Vec::new(),
            }),
            ability: ability.map(|overall| AbilitySource {
                basis: AbilityBasis::Measured,
                overall,
                error: None,
                tasks: Default::default(),
            }),
            offers: vec![OfferSource {
                price: Some(PriceSource {
                    output: Some(1_000_000 * u64::from(month % 5 + 1)),
                    ..PriceSource::default()
                }),
                ..OfferSource::default()
            }],
            ..ModelSource::default()
        }
    }

    #[test]
    fn gaps_are_filled_from_the_line_and_measured_figures_are_left_alone() {
        let mut models: Vec<ModelSource> = (0..60)
            .map(|at| at % 12 + 1)
            .map(|month| model(month, Some((month - 1) as f32 / 12.0)))
            .collect();
        models.push(model(7, None));
        assert_eq!(impute(&mut models), 1);
        let filled = models[60].ability.as_ref().expect("filled");
        assert_eq!((filled.basis, filled.overall), (AbilityBasis::Imputed, 0.5));
        let first = models.clone();
        impute(&mut models);
        assert_eq!(models, first, "a second run changes nothing");
    }
}
