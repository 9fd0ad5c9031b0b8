//! The admin port: metrics and health, which are open to whoever reaches it, and what changes the
//! process, which is not ([`guard`]). On loopback unless configured otherwise; none of its paths exists
//! on the data port.

mod classifier;
mod guard;
mod problem;

use crate::core::Shared;
use crate::judge::swap::Swapper;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
pub use guard::Guard;
pub use problem::Problem;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the paths show and change.
#[derive(Clone)]
pub struct State {
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// The process.
    pub shared: Arc<Shared>,
    /// Who swaps classifiers.
    pub swapper: Arc<Swapper>,
}

/// Serves the admin port until the process ends.
pub async fn serve(listener: tokio::net::TcpListener, state: State, guard: Guard) {
    let guarded = Router::new()
        .route("/v1/admin/classifier", get(classifier::show).post(classifier::swap))
        .layer(middleware::from_fn_with_state(guard, guard::ask));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .with_state(state)
        .into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the admin port ended");
    }
}

async fn metrics(Extract(state): Extract<State>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    state.metrics.collect();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], state.metrics.text())
}

async fn ready(Extract(state): Extract<State>) -> impl IntoResponse {
    match state.shared.phase.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}
