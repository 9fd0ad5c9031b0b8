//! The admin port: metrics and health. On loopback unless configured otherwise; none of its paths
//! exists on the data port.

use crate::core::Shared;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;

/// What the paths show.
#[derive(Clone)]
pub struct State {
    /// The counts.
    pub metrics: Arc<Metrics>,
    /// The process.
    pub shared: Arc<Shared>,
}

/// Serves the admin port until the process ends.
pub async fn serve(listener: tokio::net::TcpListener, state: State) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(state);
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
