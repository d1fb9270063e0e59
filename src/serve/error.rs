//! What a request that cannot be answered gets: a status, and `{"error": {"code", "message", "field"}}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use esmm_funnel_core::diagnostic::Diagnostics;
use serde_json::json;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What of the request is at fault, such as `rows[3].price`.
    pub field: Option<String>,
}

impl ApiError {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }
    /// A body that says something that cannot be.
    pub fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
    /// A body that is not of its format.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }
    /// More than a limit allows.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }
    /// A defect of the server.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
    /// Names what is at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Of what the encoder found; its messages read `rows: row 3: column price: …`.
    pub fn of_encoder(error: &anyhow::Error, columns: &[String]) -> Self {
        let Some(found) = error.downcast_ref::<Diagnostics>().and_then(|d| d.0.first()) else {
            return Self::internal(format!("{error:#}"));
        };
        let message = found.help.iter().fold(found.message.clone(), |all, help| format!("{all}; {help}"));
        let fault = Self::unprocessable("bad_value", message);
        let place = || {
            let (input, rest) = found.message.split_once(": row ")?;
            let (row, rest) = rest.split_once(": column ")?;
            let column =
                columns.iter().filter(|c| rest.strip_prefix(c.as_str()).is_some_and(|r| r.starts_with(": "))).max_by_key(|c| c.len())?;
            Some(if input == "shared" { format!("shared.{column}") } else { format!("{input}[{row}].{column}") })
        };
        Self { field: place(), ..fault }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "field": self.field } });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the metrics.
        response.extensions_mut().insert(Code(self.code));
        response
    }
}

/// The code of a refusal, for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Code(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use esmm_funnel_core::diagnostic::Diagnostic;

    #[test]
    fn the_encoders_place_becomes_a_field() {
        let columns = ["at".to_owned(), "at: home".to_owned()];
        let of = |message: &str| ApiError::of_encoder(&Diagnostics(vec![Diagnostic::error("time-cell", message)]).into(), &columns).field;
        assert_eq!(of("rows: row 3: column at: expected a time").as_deref(), Some("rows[3].at"));
        assert_eq!(of("rows: row 3: column at: home: expected a time").as_deref(), Some("rows[3].at: home"));
        assert_eq!(of("shared: row 0: column at: expected a time").as_deref(), Some("shared.at"));
        assert_eq!(of("anything else"), None);
    }
}
