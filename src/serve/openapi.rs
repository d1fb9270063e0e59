//! The `OpenAPI` 3.1 document of the server, with the columns of its model.

use super::model::type_of;
use esmm_funnel_core::score::online::{CellKind, Online, OnlineColumn};
use serde_json::{Map, Value, json};

/// The document.
pub fn document(online: &Online) -> Value {
    let spec = &online.scorer().spec;
    let columns: Map<String, Value> = online.columns().iter().map(|c| (c.name.clone(), cell(c))).collect();
    let required: Vec<&String> = online.columns().iter().map(|c| &c.name).collect();
    let probability = json!({ "type": ["number", "null"], "minimum": 0 });
    let predictions: Map<String, Value> = online.names().iter().map(|n| (n.clone(), probability.clone())).collect();
    let mut answered = predictions;
    for key in &spec.data.keys {
        answered.insert(key.clone(), json!({ "description": "the row's key, as it was given" }));
    }
    answered.insert("index".into(), json!({ "type": "integer", "description": "which candidate it is, from 0" }));
    answered
        .insert("score".into(), json!({ "type": ["number", "null"], "description": "the value of `score`; null where it is undefined" }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("esmm-funnel: {}", spec.funnel.name),
            "version": online.version(),
            "description": "Scores rows with a trained funnel."
        },
        "paths": paths(),
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Row": { "type": "object", "properties": columns, "required": required, "additionalProperties": true },
                "Columns": { "type": "object", "properties": columns, "additionalProperties": true },
                "Rows": {
                    "type": "object",
                    "properties": { "rows": { "type": "array", "items": reference("Row") }, "score": score(), "top_k": top_k() },
                    "required": ["rows"],
                    "additionalProperties": false
                },
                "Candidates": {
                    "type": "object",
                    "description": "Each row is `shared` and one of `candidates` together; a column stands in one of the two.",
                    "properties": {
                        "shared": reference("Columns"),
                        "candidates": { "type": "array", "items": reference("Columns") },
                        "score": score(),
                        "top_k": top_k()
                    },
                    "required": ["candidates"],
                    "additionalProperties": false
                },
                "Scored": {
                    "type": "object",
                    "properties": {
                        "rows": { "type": "array", "items": { "type": "object", "properties": answered } },
                        "model": { "type": "string", "description": "version of the model that scored" },
                        "warnings": { "type": "array", "items": { "type": "string" } }
                    },
                    "required": ["rows", "model"]
                },
                "Error": {
                    "type": "object",
                    "properties": {
                        "error": {
                            "type": "object",
                            "properties": {
                                "code": { "type": "string" },
                                "message": { "type": "string" },
                                "field": { "type": ["string", "null"], "description": "what is at fault, such as rows[3].price" }
                            },
                            "required": ["code", "message", "field"]
                        }
                    },
                    "required": ["error"]
                }
            }
        }
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
fn score() -> Value {
    json!({ "type": "string", "description": "an expression over predictions and columns", "examples": ["p_purchase * price"] })
}
fn top_k() -> Value {
    json!({ "type": "integer", "minimum": 1, "description": "answer this many rows, the highest scores first" })
}

fn cell(column: &OnlineColumn) -> Value {
    let about = format!("{}, feature `{}` of {}", type_of(column), column.feature, column.group);
    match column.kind {
        CellKind::Text if column.floats => json!({ "type": ["string", "number", "null"], "description": about }),
        CellKind::Text => json!({ "type": ["string", "integer", "boolean", "null"], "description": about }),
        CellKind::Number => json!({ "type": ["number", "null"], "description": about }),
        CellKind::Texts => json!({
            "type": ["array", "string", "integer", "null"],
            "items": { "type": ["string", "integer", "null"] },
            "description": about
        }),
        CellKind::Numbers => json!({ "type": ["array", "string", "null"], "items": { "type": "number" }, "description": about }),
    }
}

fn paths() -> Value {
    let error =
        |description: &str| json!({ "description": description, "content": { "application/json": { "schema": reference("Error") } } });
    let text = |description: &str, kind: &str| json!({ "200": { "description": description, "content": { kind: {} } } });
    let binary = json!({ "schema": { "type": "string", "contentMediaType": "application/vnd.apache.arrow.stream" } });
    json!({
        "/v1/score": { "post": {
            "summary": "Score rows, or the candidates of one user",
            "operationId": "score",
            "security": [{}, { "bearer": [] }],
            "requestBody": { "required": true, "content": {
                "application/json": { "schema": { "oneOf": [reference("Rows"), reference("Candidates")] } },
                "application/vnd.apache.arrow.stream": binary
            } },
            "responses": {
                "200": { "description": "Probabilities, a row for each row in the same order, or the best ones", "content": {
                    "application/json": { "schema": reference("Scored") },
                    "application/vnd.apache.arrow.stream": binary
                } },
                "400": error("the body is not of its format"),
                "401": error("no token, or another"),
                "408": error("the body did not arrive in time"),
                "413": error("more bytes or rows than a limit allows"),
                "415": error("a body of an unknown type"),
                "422": error("a column or a value that cannot be; `field` names it"),
                "429": error("too many requests at once"),
                "500": error("a defect of the server"),
                "503": error("overloaded, not in time, or shutting down")
            }
        } },
        "/v1/model": { "get": {
            "summary": "Stages, features, equations and version of the model",
            "operationId": "model",
            "security": [{}, { "bearer": [] }],
            "responses": {
                "200": { "description": "The model", "content": { "application/json": { "schema": { "type": "object" } } } },
                "401": error("no token, or another")
            }
        } },
        "/healthz": { "get": { "summary": "The process is alive", "operationId": "healthz", "responses": text("alive", "text/plain") } },
        "/readyz": { "get": {
            "summary": "Requests are being answered",
            "operationId": "readyz",
            "responses": { "200": { "description": "ready", "content": { "text/plain": {} } }, "503": { "description": "shutting down", "content": { "text/plain": {} } } }
        } },
        "/metrics": { "get": {
            "summary": "Metrics for Prometheus",
            "operationId": "metrics",
            "security": [{}, { "bearer": [] }],
            "responses": text("metrics", "text/plain")
        } },
        "/openapi.json": { "get": { "summary": "This document", "operationId": "openapi", "responses": text("this document", "application/json") } },
        "/": { "get": { "summary": "A page that shows the funnel and scores a row", "operationId": "page", "responses": text("the page", "text/html") } }
    })
}
