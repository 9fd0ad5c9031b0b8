//! `/v1/admin/classifier`: what judges prompts, and putting another model in its place.
//!
//! GET answers with every model in force, its version and place, the switches, and what was counted.
//! POST takes `{"folder": "…"}`, a path on the gateway's machine, and answers the same once all cores
//! judge with it; or a problem, and then nothing has changed. Never: a model over the network.

use super::State;
use super::problem::Problem;
use crate::judge::Asked;
use crate::judge::force::{InForce, Main, Model};
use axum::Json;
use axum::extract::State as Extract;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

/// What a swap is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swap {
    /// The model folder; seen from the working directory of the gateway when relative.
    folder: PathBuf,
}

pub(super) async fn show(Extract(state): Extract<State>) -> Json<Value> {
    let in_force = state.shared.in_force.load_full();
    Json(shown(&state, &in_force))
}

pub(super) async fn swap(
    Extract(state): Extract<State>,
    body: Result<Json<Swap>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(Swap { folder }) = body.map_err(|rejection| {
        let detail = format!("{}; {{\"folder\": \"path\"}} would do", rejection.body_text());
        Problem::new(StatusCode::BAD_REQUEST, "bad-body", "The body is not understood", detail)
    })?;
    let in_force = state.swapper.use_folder(folder).await.map_err(|refused| {
        let title = "The classifier is refused; the old one stays";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "classifier-refused", title, refused.to_string())
    })?;
    Ok(Json(shown(&state, &in_force)))
}

fn shown(state: &State, in_force: &InForce) -> Value {
    let config = &in_force.config;
    let counts = &state.shared.judge_counts;
    state.metrics.collect();
    let judging = state.metrics.judging();
    let asked = |asked: Asked| judging.asked[asked as usize];
    let observed = &counts.observed;
    let disagreements: Vec<Value> = observed
        .disagreements()
        .map(|(task, other, count)| {
            json!({"task": task.name(), "observed": other.name(), "count": count})
        })
        .collect();
    let why_rules = match &in_force.main {
        Main::Rules(why) => Some(why),
        Main::Model(_) => None,
    };
    json!({
        "object": "pointsman.classifier",
        "generation": in_force.generation,
        "main": in_force.main_model().map(|model| model_json(model)),
        "rules_only_because": why_rules,
        "second": in_force.second.as_ref().map(|model| {
            let mut shown = model_json(model);
            shown["margin"] = json!(config.second_margin);
            shown["weight"] = json!(config.second_weight);
            shown
        }),
        "observe": in_force.observe.as_ref().map(|model| {
            let mut shown = model_json(model);
            shown["share"] = json!(config.observe_share);
            shown
        }),
        "threads": {
            "count": config.second_threads,
            "queue": config.second_queue,
            "deadline_us": config.second_deadline_us,
            "asked": judging.asked.iter().sum::<u64>(),
            "answered": asked(Asked::Answered),
            "late": asked(Asked::Late),
            "queue_full": asked(Asked::QueueFull),
            "failed": asked(Asked::Failed),
            "changed": judging.asked_changed,
        },
        "cache": {
            "entries_per_core": config.cache_entries,
            "hits": judging.cache_hits,
            "misses": judging.cache_misses,
        },
        "observed": {
            "compared": observed.compared(),
            "dropped": observed.dropped.load(Relaxed),
            "mean_difficulty_difference": mean(observed.difficulty_difference(), observed.compared()),
            "disagreements": disagreements,
        },
        "faults": counts.faults.load(Relaxed),
        "swaps": counts.swaps.load(Relaxed),
        "refused": counts.refusals.load(Relaxed),
        "last_refusal": state.swapper.last_refusal().map(|refusal| {
            json!({"reason": refusal.reason, "at": unix_seconds(refusal.at)})
        }),
    })
}

fn model_json(model: &Model) -> Value {
    let manifest = model.classifier.manifest();
    let runs_on = model.classifier.runs_on();
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "folder": model.folder,
        "digest": model.digest,
        "placement": model.placement(),
        "device": runs_on.name(),
        "device_fallback": runs_on.fallback,
        "p50_us": model.speed.p50_us,
        "p99_us": model.speed.p99_us,
        "loaded_at": unix_seconds(model.loaded_at),
    })
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}

fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
