//! Refusals of the admin port: problem details as in RFC 9457.
//!
//! In: a status and what would do. Out: `application/problem+json` with `type`, `title`, `status` and
//! `detail`. Never: what a client of the data port sees; those refusals have its dialect.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last part of `type`, by which programs tell problems apart.
    name: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    /// A problem of its kind: `name` and `title` are the same each time, `detail` is for this one.
    pub fn new(
        status: StatusCode,
        name: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, name, title, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:pointsman:problem:{}", self.name),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, format!("{body}\n")).into_response()
    }
}
