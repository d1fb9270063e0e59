//! The endpoints.

#![allow(clippy::unused_async)] // handlers are async

use super::auth::Token;
use super::batching::{Batcher, Job, Scored};
use super::candidates::{Missing, Ready, ReadyRecords};
use super::error::{ApiError, Code};
use super::metrics::Metrics;
use super::model::Served;
use super::reload::Models;
use super::{ipc, rows};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;

/// A body of so many bytes is read apart from the other requests of its thread.
const LONG_BODY: usize = 64 << 10;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What requests are held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Rows of a request.
    pub rows: usize,
    /// From the head of a request to its answer.
    pub time: Duration,
    /// Requests under way.
    pub requests: usize,
}

/// What all requests share.
pub struct App {
    /// The model.
    pub models: Arc<Models>,
    /// Where rows are scored.
    pub batcher: Arc<Batcher>,
    /// What requests are held to.
    pub limits: Limits,
    /// Who may ask.
    pub token: Token,
    /// What happens.
    pub metrics: Arc<Metrics>,
    /// What becomes of missing columns.
    pub missing: Missing,
    /// One for each request that may be under way.
    pub permits: Semaphore,
    /// Requests are being answered.
    pub ready: AtomicBool,
}

/// The endpoints over what they share.
pub fn router(app: Arc<App>) -> Router {
    let metrics = Arc::clone(&app.metrics);
    Router::new()
        .route("/v1/score", post(score))
        .route("/v1/model", get(model))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(prometheus))
        .route("/openapi.json", get(openapi))
        .route("/", get(page))
        .fallback(async || {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "no such endpoint; there are: POST /v1/score, GET /v1/model, /healthz, /readyz, /metrics, /openapi.json, /",
            )
        })
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the endpoint does not take this method; POST /v1/score, GET the others",
            )
        })
        .with_state(app)
        .layer(axum::middleware::map_response(move |response: Response| {
            if let Some(Code(code)) = response.extensions().get() {
                metrics.error(response.status(), code);
            }
            std::future::ready(response)
        }))
}

fn json(text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], text.into()).into_response()
}

async fn model(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    app.token.check(&headers)?;
    Ok(json(app.models.current().about.clone()))
}

async fn openapi(State(app): State<Arc<App>>) -> Response {
    json(app.models.current().openapi.clone())
}

async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.ready.load(Relaxed) { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n") }
}

async fn prometheus(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    app.token.check(&headers)?;
    let served = app.models.current();
    let text = app.metrics.text(app.batcher.load(), served.online.version(), &served.run.display().to_string());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn page() -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                          base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("page.html")).into_response()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Arrow,
}
impl Format {
    /// Only what a page of another site cannot send unasked.
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = given.split(';').next().unwrap_or_default().trim();
        match kind {
            _ if kind.eq_ignore_ascii_case("application/json") => Ok(Self::Json),
            _ if kind.eq_ignore_ascii_case(ipc::STREAM) => Ok(Self::Arrow),
            _ => {
                let found = if kind.is_empty() { "none".to_owned() } else { format!("`{kind}`") };
                let message = format!("expected the content type `application/json` or `{}`, found {found}", ipc::STREAM);
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", message).at("content-type"))
            }
        }
    }
}

async fn score(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let start = Instant::now();
    let deadline = tokio::time::Instant::from_std(start + app.limits.time);
    let headers = request.headers();
    app.token.check(headers)?;
    let format = Format::of(headers)?;
    let busy = || {
        let message = format!("{} requests are under way, and no more may be (`--max-requests`); try again", app.limits.requests);
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
    };
    let permit = app.permits.try_acquire().map_err(|_| busy())?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|n| n > app.limits.body_bytes as u64) {
        return Err(too_long(&app));
    }
    let body = read_body(&app, request.into_body(), deadline).await?;
    let served = app.models.current();
    let (response, rows) = if format == Format::Json {
        score_json(&app, &served, body, deadline).await?
    } else {
        score_arrow(&app, &served, body, deadline).await?
    };
    app.metrics.answer(rows, start.elapsed());
    drop(permit);
    Ok(response)
}

fn too_long(app: &App) -> ApiError {
    ApiError::too_large(format!(
        "the body has more than {} bytes; send several requests, or raise `--max-body-bytes`",
        app.limits.body_bytes
    ))
}

async fn read_body(app: &App, body: Body, deadline: tokio::time::Instant) -> Result<Bytes, ApiError> {
    match timeout_at(deadline, Limited::new(body, app.limits.body_bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_long(app)),
        Ok(Err(e)) => Err(ApiError::malformed(format!("the body did not arrive whole: {e}"))),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time (`--timeout-ms`)")),
    }
}

/// Long work goes on while the thread's other requests move to another thread.
fn apart<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes >= LONG_BODY { tokio::task::block_in_place(work) } else { work() }
}

async fn score_json(app: &App, served: &Arc<Served>, body: Bytes, deadline: tokio::time::Instant) -> Result<(Response, usize), ApiError> {
    let logs = app.batcher.logs();
    let mut ready = apart(body.len(), || {
        let asked = rows::read(&body, served, app.limits.rows)?;
        Ready::of(asked, served, app.missing, logs)
    })?;
    let n = ready.asked.rows.rows;
    let ignored: usize = ready.asked.shared.iter().chain([&ready.asked.rows]).flat_map(|t| &t.extras).map(|e| e.rows).sum();
    if ignored > 0 {
        app.metrics.unknown_columns.fetch_add(ignored as u64, Relaxed);
    }
    drop(body);
    let scored = if n == 0 {
        empty(served, ready.value.is_some())
    } else {
        let (reply, result) = oneshot::channel();
        let job = Job {
            served: Arc::clone(served),
            batch: std::mem::take(&mut ready.batch),
            value: ready.value.take(),
            record: ready.record.take(),
            reply,
        };
        run(app, job, result, deadline).await?
    };
    Ok((json(ready.answer(served, &scored)), n))
}

async fn score_arrow(app: &App, served: &Arc<Served>, body: Bytes, deadline: tokio::time::Instant) -> Result<(Response, usize), ApiError> {
    let logs = app.batcher.logs();
    let ready = apart(body.len(), || {
        let records = ipc::read(&body, app.limits.rows, app.limits.body_bytes)?;
        ReadyRecords::of(&records, served, app.missing, logs)
    })?;
    drop(body);
    let scored = if ready.rows == 0 {
        empty(served, false)
    } else {
        let (reply, result) = oneshot::channel();
        let job = Job { served: Arc::clone(served), batch: ready.batch, value: None, record: ready.record, reply };
        run(app, job, result, deadline).await?
    };
    let answer = ipc::write(served, &ready.keys, scored.probabilities, &ready.warnings).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok((([(header::CONTENT_TYPE, ipc::STREAM)], answer).into_response(), ready.rows))
}

fn empty(served: &Served, values: bool) -> Scored {
    Scored { probabilities: vec![Vec::new(); served.online.names().len()], values: values.then(Vec::new) }
}

async fn run(
    app: &App,
    job: Job,
    result: oneshot::Receiver<Result<Scored, String>>,
    deadline: tokio::time::Instant,
) -> Result<Scored, ApiError> {
    let unavailable = |code, message| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    if !app.batcher.submit(job) {
        return Err(unavailable("overloaded", "too many rows wait to be scored (`--max-queue-rows`); try again"));
    }
    match timeout_at(deadline, result).await {
        Ok(Ok(Ok(scored))) => Ok(scored),
        Ok(Ok(Err(message))) => Err(ApiError::internal(message)),
        Ok(Err(_)) => Err(ApiError::internal("scoring ended without a result")),
        Err(_) => Err(unavailable("timeout", "the rows were not scored in time (`--timeout-ms`)")),
    }
}
