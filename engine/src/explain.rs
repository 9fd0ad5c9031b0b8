//! The decision in words and numbers: what `POST /v1/route` answers.

use crate::decide::{Admitted, Judged, Understood};
use crate::snapshot::{Named, Snapshot};
use classifier::{Classified, Kind};
use models::Task;
use models::catalogue::OfferIx;
use route::{Exclusion, Explanation};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Candidates that are listed; the rest is counted.
const CANDIDATES_MAX: usize = 50;

/// Everything that led to the decision, as JSON. Costs are dollars as decimal text, times
/// milliseconds.
pub fn shown(
    snapshot: &Snapshot,
    understood: &Understood,
    admitted: &Admitted,
    judged: &Judged,
    explanation: &Explanation,
) -> Value {
    let catalogue = &snapshot.catalogue;
    let names = |offer: OfferIx| {
        let offer = catalogue.offer(offer);
        (catalogue.model(offer.model()).id(), catalogue.provider(offer.provider()).id())
    };
    let candidates: Vec<Value> = explanation
        .candidates
        .iter()
        .take(CANDIDATES_MAX)
        .map(|candidate| {
            let (model, provider) = names(candidate.offer);
            json!({
                "rank": candidate.rank,
                "model": model,
                "provider": provider,
                "expected_quality": rounded(candidate.quality),
                "expected_cost_usd": candidate.cost.to_string().trim_start_matches('$'),
                "expected_latency_ms": candidate.latency_us / 1_000,
                "availability": rounded(candidate.availability),
                "score": rounded(candidate.score),
            })
        })
        .collect();
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    let mut excluded = Vec::new();
    for out in &explanation.excluded {
        *reasons.entry(out.why.code()).or_default() += 1;
        // Providers without a key and models that `auto` never takes are most of the catalogue: they
        // are counted, the others are named.
        let is_remarkable = !matches!(
            out.why,
            Exclusion::ProviderDisabled | Exclusion::NotInAuto | Exclusion::Retired
        );
        if is_remarkable && excluded.len() < CANDIDATES_MAX {
            let (model, provider) = names(out.offer);
            excluded.push(json!({
                "model": model,
                "provider": provider,
                "reason": out.why.code(),
                "detail": out.why.to_string(),
            }));
        }
    }
    let choice = match &explanation.plan {
        Ok(plan) => {
            let attempts: Vec<Value> = plan
                .attempts
                .iter()
                .map(|attempt| {
                    let (model, provider) = names(attempt.offer);
                    json!({"model": model, "provider": provider, "probe": attempt.probe})
                })
                .collect();
            json!({
                "model": attempts.first().map(|first| first["model"].clone()),
                "provider": attempts.first().map(|first| first["provider"].clone()),
                "reason": plan.reason.code(),
                "attempts": attempts,
            })
        }
        Err(_) => Value::Null,
    };
    let parsed = &understood.parsed;
    json!({
        "object": "pointsman.route",
        "requested": understood.requested,
        "strategy": admitted.strategy.name(),
        "catalogue_version": catalogue.version(),
        "verdict": match (admitted.named, &judged.heads) {
            (Named::Auto(_), Some(heads)) => verdict(heads, judged),
            _ => Value::Null,
        },
        "needs": parsed.needs.names().collect::<Vec<_>>(),
        "input_tokens": parsed.input_tokens(),
        "max_output_tokens": parsed.max_output,
        "choice": choice,
        "error": explanation.plan.as_ref().err().map(ToString::to_string),
        "candidates": candidates,
        "candidates_total": explanation.candidates.len(),
        "excluded": excluded,
        "excluded_total": reasons,
    })
}

/// All that the classifier says.
fn verdict(heads: &Classified, judged: &Judged) -> Value {
    let verdict = &heads.verdict;
    let by_name = |rows: &mut dyn Iterator<Item = (&'static str, f32)>| -> Value {
        let rows = rows.map(|(name, share)| (name.to_owned(), rounded(share).into()));
        Value::Object(rows.collect())
    };
    json!({
        "task": verdict.task.name(),
        "probs": by_name(&mut Task::ALL.into_iter().map(Task::name).zip(heads.probs)),
        "difficulty": rounded(verdict.difficulty),
        "domain": heads.domain.name(),
        "domain_confidence": rounded(heads.domain_confidence),
        "sensitivity": rounded(verdict.sensitivity),
        "sensitive_kinds": by_name(&mut Kind::ALL.into_iter().map(Kind::name).zip(heads.kinds)),
        "expected_output_tokens": verdict.output_tokens.round(),
        "output_spread": rounded(heads.spread),
        "confidence": rounded(verdict.confidence),
        "stage": heads.stage.name(),
        "turn": judged.turn.name(),
        "micros": judged.micros,
    })
}

fn rounded(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}
