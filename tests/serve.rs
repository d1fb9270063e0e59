//! `serve` and `replay`, with the real program on a free port.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::cast_possible_truncation, clippy::too_many_lines)]

mod common;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use common::http::{Answer, Server};
use common::log::{self, Row};
use common::{Sandbox, says};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A folder with finished runs: `a`, `b` (other weights), `noentity` (the same columns, none shared), `other` (other columns).
fn runs() -> &'static Sandbox {
    static RUNS: OnceLock<Sandbox> = OnceLock::new();
    RUNS.get_or_init(|| {
        let t = Sandbox::with_log();
        t.ok("run log.toml --out a");
        t.ok("run log.toml --out b --seed 9 --set train.epochs=1");
        t.write("flat.toml", log::SPEC.replace("[entity.user]\nkey = \"user_id\"\n", "").replace("of = \"user\"\n", ""));
        t.ok("run flat.toml --out flat --set train.epochs=1");
        t.write("other.toml", log::SPEC.replace("columns = [\"price\"]", "columns = [\"day\"]"));
        t.ok("run other.toml --out other --set train.epochs=1");
        t
    })
}

/// The columns of a row that the model reads.
fn features(r: &Row) -> Value {
    json!({ "user_id": r.user, "city": r.city, "item_id": r.item, "tags": r.tags, "price": r.price })
}
fn with_keys(r: &Row) -> Value {
    let mut row = features(r);
    row["id"] = r.id.clone().into();
    row
}
/// Rows of one user: what they share, and the candidates.
fn candidates(n: usize) -> (Value, Vec<Value>, Vec<Value>) {
    let rows = log::rows(77, n);
    let shared = json!({ "user_id": "u7", "city": "c0" });
    let each: Vec<Value> = rows.iter().map(|r| json!({ "item_id": r.item, "tags": r.tags, "price": r.price })).collect();
    let whole =
        each.iter().map(|c| json!({ "user_id": "u7", "city": "c0", "item_id": c["item_id"], "tags": c["tags"], "price": c["price"] }));
    let whole = whole.collect();
    (shared, each, whole)
}

#[test]
fn scores_are_those_of_predict() {
    let t = runs();
    t.ok("predict a --data test.csv --out from_csv.csv");
    let server = Server::start(t, "a");
    let rows = log::rows_of("test");
    let given: Vec<Value> = rows.iter().map(with_keys).collect();
    let answered = server.rows(&json!({ "rows": given }));
    let text = t.text("from_csv.csv");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(header, ["id", "day", "p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"]);
    for (line, answer) in lines.zip(&answered) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(answer["id"], cells[0]);
        for (name, cell) in header.iter().zip(&cells).skip(2) {
            assert_eq!(answer[*name].as_f64().unwrap().to_bits(), cell.parse::<f64>().unwrap().to_bits(), "{name} of {}", cells[0]);
        }
    }
    assert_eq!(answered.len(), rows.len());
    // Alone, a row is multiplied by other kernels: equal but for rounding.
    for (row, together) in given.iter().zip(&answered).take(20) {
        let alone = &server.rows(&json!({ "rows": [row] }))[0];
        assert!((alone["p_purchase"].as_f64().unwrap() - together["p_purchase"].as_f64().unwrap()).abs() < 1e-6);
    }
}

#[test]
fn candidates_are_rows_said_shorter() {
    for run in ["a", "flat"] {
        let server = Server::start(runs(), run);
        let (shared, each, whole) = candidates(40);
        let rows = server.rows(&json!({ "rows": whole }));
        // What is in common may stand anywhere in the body.
        let short = server.rows(&json!({ "candidates": each, "shared": shared }));
        for (i, (long, short)) in rows.iter().zip(&short).enumerate() {
            assert_eq!(short["index"], i);
            for name in ["p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"] {
                assert_eq!(long[name], short[name], "{run}: {name} of {i}");
            }
        }
    }
}

#[test]
fn the_best_candidates_by_an_expression() {
    let server = Server::start(runs(), "a");
    let (shared, each, _) = candidates(50);
    let all = server.rows(&json!({ "shared": shared, "candidates": each }));
    let mut expected: Vec<(usize, f64)> =
        all.iter().zip(&each).map(|(a, c)| a["p_purchase"].as_f64().unwrap() * c["price"].as_f64().unwrap()).enumerate().collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = server.rows(&json!({ "shared": shared, "candidates": each, "score": "p_purchase * price", "top_k": 5 }));
    let found: Vec<(usize, f64)> = best.iter().map(|r| (r["index"].as_u64().unwrap() as usize, r["score"].as_f64().unwrap())).collect();
    assert_eq!(found, expected[..5]);
    // What only the request knows: a bid that is no feature, of one candidate missing.
    let mut bids = each[..3].to_vec();
    (bids[0]["bid"], bids[2]["bid"], bids[2]["note"]) = (2.into(), 8.into(), "x".into());
    let answer =
        server.score(json!({ "shared": shared, "candidates": bids, "score": "p_click * bid", "top_k": 9 }).to_string()).ok().json();
    let order: Vec<_> = answer["rows"].as_array().unwrap().iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert_eq!(order, [2, 0, 1]);
    assert_eq!(answer["rows"][2]["score"], Value::Null);
    assert_eq!(answer["warnings"], json!(["column `note` is not known to the model and was ignored in 1 row"]));
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let server = Server::start(runs(), "a");
    let row = features(&log::rows(1, 1)[0]);
    let changed = |column: &str, value: Value| {
        let mut other = row.clone();
        other[column] = value;
        json!({ "rows": [row, other] }).to_string()
    };
    let without = |column: &str, name: &str| {
        let mut other = row.clone();
        let value = other.as_object_mut().unwrap().shift_remove(column).unwrap();
        if !name.is_empty() {
            other[name] = value;
        }
        json!({ "rows": [row, other] }).to_string()
    };
    let (shared, each, _) = candidates(2);
    let ask = |more: Value| {
        let mut body = json!({ "shared": shared, "candidates": each });
        more.as_object().unwrap().iter().for_each(|(k, v)| body[k] = v.clone());
        body.to_string()
    };
    let text = row.to_string();
    let cases: Vec<(String, u16, &str, &str, &[&str])> = vec![
        (changed("price", json!("3.5")), 422, "bad_value", "rows[1].price", &["expected a number, found text"]),
        (changed("price", json!([1])), 422, "bad_value", "rows[1].price", &["found a list"]),
        (changed("price", json!({ "a": 1 })), 422, "bad_value", "rows[1].price", &["expected a number"]),
        (changed("price", json!(true)), 422, "bad_value", "rows[1].price", &["found a truth value"]),
        (changed("price", json!(1e300)), 422, "bad_value", "rows[1].price", &["32 bits"]),
        (changed("item_id", json!(1.5)), 422, "bad_value", "rows[1].item_id", &["expected an id", "floating-point"]),
        (changed("tags", json!(["a", 1.5])), 422, "bad_value", "rows[1].tags", &["floating-point"]),
        (changed("tags", json!([["a"]])), 422, "bad_value", "rows[1].tags", &["expected an id"]),
        (format!("{{\"rows\":[{}]}}", text.replace(&row["price"].to_string(), "NaN")), 422, "bad_value", "rows[0].price", &["NaN", "null"]),
        (
            format!("{{\"rows\":[{}]}}", text.replace(&row["price"].to_string(), "1e999")),
            422,
            "bad_value",
            "rows[0].price",
            &["number out of range"],
        ),
        (without("price", ""), 422, "missing_column", "rows[1].price", &["`price` is missing", "null"]),
        (without("price", "prise"), 422, "missing_column", "rows[1].price", &["`prise`"]),
        (format!("{{\"rows\":[{}]}}", text.replacen('{', "{\"price\":1,", 1)), 422, "bad_value", "rows[0].price", &["given twice"]),
        ("{\"rows\":[1]}".into(), 422, "bad_request", "rows[0]", &["an object of columns"]),
        ("{\"rows\":{}}".into(), 422, "bad_request", "rows", &["a list of objects"]),
        ("{\"row\":[]}".into(), 422, "bad_request", "", &["unknown key `row`", "did you mean `rows`?"]),
        ("[]".into(), 422, "bad_request", "", &["expected an object"]),
        ("{}".into(), 422, "bad_request", "rows", &["neither `rows` nor `candidates`"]),
        ("{\"rows\":[],\"candidates\":[]}".into(), 422, "bad_request", "candidates", &["exclude each other"]),
        ("{\"rows\":[],\"shared\":{}}".into(), 422, "bad_request", "shared", &["goes with `candidates`"]),
        ("{\"rows\":[],\"rows\":[]}".into(), 422, "bad_request", "rows", &["twice"]),
        ("{\"rows\":[".into(), 400, "malformed", "rows[0]", &["not JSON", "line 1 column 9"]),
        ("{\"rows\":[]} x".into(), 400, "malformed", "", &["not JSON", "trailing"]),
        (String::new(), 400, "malformed", "", &["not JSON"]),
        (ask(json!({ "score": "p_purchse * price" })), 422, "bad_expression", "score", &["p_purchse", "did you mean `p_purchase`?"]),
        (ask(json!({ "score": "p_purchase *" })), 422, "bad_expression", "score", &[]),
        (ask(json!({ "score": "p_purchase + tags" })), 422, "bad_expression", "score", &["`tags` holds lists"]),
        (ask(json!({ "score": 3 })), 422, "bad_value", "score", &["expected a string"]),
        (ask(json!({ "top_k": 3 })), 422, "bad_request", "top_k", &["needs a `score`"]),
        (ask(json!({ "score": "p_click", "top_k": 0 })), 422, "bad_value", "top_k", &["nonzero"]),
        (ask(json!({ "score": "p_click", "top_k": -1 })), 422, "bad_value", "top_k", &[]),
        (
            ask(json!({ "shared": { "user_id": "u1", "city": "c", "price": 1 } })),
            422,
            "bad_request",
            "shared.price",
            &["in `shared` and in `candidates`"],
        ),
        (ask(json!({ "shared": { "user_id": "u1" } })), 422, "missing_column", "candidates[0].city", &["`city` is missing"]),
        (ask(json!({ "shared": { "user_id": ["u1"], "city": "c" } })), 422, "bad_value", "shared.user_id", &["found a list"]),
    ];
    for (body, status, code, field, parts) in cases {
        let (found, message, at) = server.score(&body).refused(status);
        assert_eq!((found.as_str(), at.as_str()), (code, field), "{body}: {message}");
        says(&message, parts);
    }
    let refused = server.metric("esmm_funnel_errors_total{status=\"422\",code=\"bad_expression\"}");
    assert_eq!(refused, 3.0);
    assert_eq!(server.rows(&json!({ "rows": [] })), Vec::<Value>::new());
    assert_eq!(server.rows(&json!({ "rows": [row] })).len(), 1);
}

#[test]
fn unknown_and_missing_columns_are_told_once() {
    let server = Server::start(runs(), "a --missing default");
    let mut rows: Vec<Value> = log::rows(1, 3).iter().map(features).collect();
    for row in &mut rows[1..] {
        let price = row.as_object_mut().unwrap().shift_remove("price").unwrap();
        row["prise"] = price;
    }
    let answer = server.score(json!({ "rows": rows }).to_string()).ok().json();
    let expected = json!([
        "column `price` is missing in 2 of 3 rows and was read as missing",
        "column `prise` is not known to the model and was ignored in 2 rows; did you mean `price`?"
    ]);
    assert_eq!(answer["warnings"], expected);
    rows[1]["price"] = Value::Null;
    let null = server.rows(&json!({ "rows": [rows[1]] }));
    assert!((null[0]["p_click"].as_f64().unwrap() - answer["rows"][1]["p_click"].as_f64().unwrap()).abs() < 1e-6);
    assert_eq!(server.metric("esmm_funnel_unknown_cells_total"), 3.0);
}

fn stream(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}
fn arrow_rows(rows: &[Row]) -> RecordBatch {
    let text = |of: fn(&Row) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    RecordBatch::try_from_iter(vec![
        ("id", text(|r| r.id.clone())),
        ("user_id", text(|r| r.user.clone())),
        ("city", text(|r| r.city.clone())),
        ("item_id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.item))) as ArrayRef),
        ("tags", text(|r| r.tags.join("|"))),
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.price))) as ArrayRef),
    ])
    .unwrap()
}
fn ask_arrow(server: &Server, body: &[u8]) -> Answer {
    server.ask("POST", "/v1/score", &[("content-type", ARROW)], body)
}

#[test]
fn arrow_bodies_are_rows_too() {
    let server = Server::start(runs(), "a");
    let rows = log::rows(5, 300);
    let json = server.rows(&json!({ "rows": rows.iter().map(with_keys).collect::<Vec<_>>() }));
    let answer = ask_arrow(&server, &stream(&arrow_rows(&rows))).ok();
    let mut reader = StreamReader::try_new(&answer.body[..], None).unwrap();
    assert_eq!(reader.schema().metadata()["model"], server.get("/v1/model").json()["version"].as_str().unwrap());
    let batch = reader.next().unwrap().unwrap();
    assert_eq!(batch.num_columns(), 5);
    for (i, row) in json.iter().enumerate() {
        assert_eq!(batch.column_by_name("id").unwrap().as_string::<i32>().value(i), row["id"]);
        for name in ["p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"] {
            assert_eq!(batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(i), row[name].as_f64().unwrap());
        }
    }
    let text = arrow_rows(&rows);
    let changed = |name: &str, array: ArrayRef| {
        let schema = text.schema();
        let columns = schema.fields().iter().map(|f| f.name().clone()).zip(text.columns().iter().cloned());
        stream(&RecordBatch::try_from_iter(columns.map(|(n, a)| if n == name { (n, array.clone()) } else { (n, a) })).unwrap())
    };
    let words: ArrayRef = Arc::new(StringArray::from(vec!["dear"; 300]));
    let (code, message, field) = ask_arrow(&server, &changed("price", words)).refused(422);
    assert_eq!((code.as_str(), field.as_str()), ("bad_value", "price"));
    says(&message, &["expected a number, found Utf8"]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 300]));
    assert_eq!(ask_arrow(&server, &changed("item_id", floats)).refused(422).2, "item_id");
    let (code, _, field) = ask_arrow(&server, &stream(&text.project(&[0, 1, 2, 3, 4]).unwrap())).refused(422);
    assert_eq!((code.as_str(), field.as_str()), ("missing_column", "price"));
    assert_eq!(ask_arrow(&server, b"no stream").refused(400).0, "malformed");
    assert_eq!(ask_arrow(&server, &[]).refused(400).0, "malformed");
    let whole = stream(&text);
    assert_eq!(ask_arrow(&server, &whole[..whole.len() / 2]).refused(400).0, "malformed");
}

#[test]
fn limits_hold_before_anything_is_kept() {
    let server = Server::start(runs(), "a --max-rows 10 --max-body-bytes 20000 --timeout-ms 2000 --max-requests 1");
    let rows: Vec<Value> = log::rows(1, 11).iter().map(features).collect();
    let (code, message, field) = server.score(json!({ "rows": rows }).to_string()).refused(413);
    assert_eq!((code.as_str(), field.as_str()), ("too_large", "rows"));
    says(&message, &["more than 10 rows", "--max-rows"]);
    server.score(json!({ "rows": rows[..10] }).to_string()).ok();
    assert_eq!(ask_arrow(&server, &stream(&arrow_rows(&log::rows(1, 11)))).refused(413).0, "too_large");
    // Ten million candidates: the head alone is enough to refuse them.
    let mut stream = server.connect();
    let head =
        "POST /v1/score HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 900000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let (_, message, _) = Answer::read(&mut stream).unwrap().refused(413);
    says(&message, &["20000 bytes", "--max-body-bytes"]);
    // In pieces without a length: refused when it has grown too long.
    let mut stream = server.connect();
    let head =
        "POST /v1/score HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..30 {
        let _ = stream.write_all(format!("3e8\r\n{}\r\n", " ".repeat(1000)).as_bytes());
    }
    Answer::read(&mut stream).unwrap().refused(413);
    // A body that does not come holds its place, and not for long.
    let mut slow = server.connect();
    let head = "POST /v1/score HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let (code, message, _) = server.score(json!({ "rows": [rows[0]] }).to_string()).refused(429);
    assert_eq!(code, "too_many_requests");
    says(&message, &["--max-requests"]);
    assert_eq!(Answer::read(&mut slow).unwrap().refused(408).0, "timeout");
    server.score(json!({ "rows": [rows[0]] }).to_string()).ok();
    let bare = server.ask("POST", "/v1/score", &[], b"{}").refused(415);
    assert_eq!(bare.2, "content-type");
    assert_eq!(server.get("/v1/score").refused(405).0, "method_not_allowed");
    assert_eq!(server.get("/v1/scores").refused(404).0, "not_found");
}

#[test]
fn a_token_is_asked_for() {
    let t = runs();
    t.write("token", "open-sesame\n");
    std::process::Command::new("chmod").args(["644", t.path("token").to_str().unwrap()]).status().unwrap();
    let server = Server::start(t, "a --token-file token");
    says(&server.stderr(), &["warning: ", "read by everyone", "chmod 600"]);
    assert!(!server.stderr().contains("open-sesame"));
    let row = json!({ "rows": [features(&log::rows(1, 1)[0])] }).to_string();
    let with = |token: &str| {
        let headers = [("content-type", "application/json"), ("authorization", token)];
        server.ask("POST", "/v1/score", &headers, row.as_bytes())
    };
    with("Bearer open-sesame").ok();
    assert_eq!(with("Bearer open-sesam").refused(401).0, "unauthorized");
    assert!(server.score(&row).head.contains("www-authenticate: Bearer"));
    for path in ["/v1/model", "/metrics"] {
        server.get(path).refused(401);
    }
    for path in ["/healthz", "/readyz", "/", "/openapi.json"] {
        server.get(path).ok();
    }
    drop(server);
    let server = Server::with(t, "a", &[("ESMM_FUNNEL_TOKEN", "other")]);
    server.get("/v1/model").refused(401);
    drop(server);
    t.write("empty", "\n");
    says(&t.fails("serve a --addr 127.0.0.1:0 --token-file empty"), &["`--token-file empty`", "the token is empty"]);
    says(&t.fails("serve a --addr 127.0.0.1:0 --token-file nowhere"), &["`--token-file nowhere`"]);
}

#[test]
fn every_endpoint_says_what_it_should() {
    let t = runs();
    let server = Server::start(t, "a");
    let model = server.get("/v1/model").ok().json();
    assert_eq!(model["stages"][1]["equation"], "P(purchase) = σ(z_click) · σ(z_purchase)");
    assert_eq!(model["keys"], json!(["id", "day"]));
    let types: Vec<_> =
        model["features"].as_array().unwrap().iter().map(|f| (f["column"].as_str().unwrap(), f["type"].as_str().unwrap())).collect();
    assert_eq!(types, [("item_id", "id"), ("tags", "ids"), ("price", "number"), ("user_id", "id"), ("city", "id")]);
    says(model["svg"].as_str().unwrap(), &["<svg"]);
    let openapi = server.get("/openapi.json").ok().json();
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(openapi["components"]["schemas"]["Row"]["properties"]["price"].is_object());
    server.score(json!({ "rows": [features(&log::rows(1, 1)[0])] }).to_string()).ok();
    let metrics = server.get("/metrics").ok();
    says(&metrics.head, &["text/plain; version=0.0.4"]);
    says(
        &metrics.text(),
        &["esmm_funnel_requests_total 1\n", "esmm_funnel_batch_rows_count 1\n", "esmm_funnel_request_seconds_bucket{le=\"+Inf\"} 1"],
    );
    says(&server.get("/").ok().head, &["text/html", "default-src 'none'"]);
    assert_eq!(server.get("/readyz").ok().text(), "ready\n");
}

#[test]
fn what_cannot_be_served_is_told() {
    let t = runs();
    let server = Server::start(t, "a");
    let taken = server.address.clone();
    says(
        &t.fails(&format!("serve a --addr {taken}")),
        &[&format!("`--addr {taken}`"), "another program listens there", "name another port"],
    );
    says(&t.fails("serve a --addr nonsense"), &["`--addr nonsense`", "127.0.0.1:8080"]);
    says(&t.fails("serve nowhere --addr 127.0.0.1:0"), &["`nowhere`"]);
    says(&t.fails("serve a --threads 0"), &["--threads 0"]);
    let half = t.text("a/run.json").replace("\"finished\"", "\"running\"");
    t.write("half/run.json", half);
    says(&t.fails("serve half --addr 127.0.0.1:0"), &["is not finished", "resume"]);
    let out = Server::start(t, "a --addr 0.0.0.0:0 --threads 1");
    out.tells("can be reached from other machines, and no token is asked for");
}

#[test]
fn the_log_replays_to_the_same_bits() {
    let t = runs();
    let server = Server::start(t, "a --log logged --log-rows 400");
    let rows: Vec<Value> = log::rows(3, 200).iter().map(with_keys).collect();
    let (shared, each, _) = candidates(30);
    std::thread::scope(|s| {
        for part in rows.chunks(50) {
            let (server, shared, each) = (&server, &shared, &each);
            s.spawn(move || {
                for row in part {
                    server.rows(&json!({ "rows": [row] }));
                    server.rows(&json!({ "shared": shared, "candidates": each[..7], "score": "p_click * price", "top_k": 2 }));
                }
                ask_arrow(server, &stream(&arrow_rows(&log::rows(4, 20)))).ok();
            });
        }
    });
    assert_eq!(server.metric("esmm_funnel_logged_rows_total"), 200.0 + 200.0 * 7.0 + 80.0);
    assert_eq!(server.metric("esmm_funnel_log_dropped_rows_total"), 0.0);
    server.signal("-TERM");
    assert_eq!(server.end(), Some(0));
    let files: Vec<String> = t.files("logged").into_iter().map(|(name, _)| name).collect();
    assert!(files.len() > 2 && files.iter().all(|f| f.ends_with(".parquet") && !f.starts_with('.')), "{files:?}");
    let ran = t.ok("replay logged");
    says(&ran.stdout, &["1,680 rows of 404 requests", "the same scores, bit for bit"]);
    // The log is data like any other.
    t.ok(&format!("predict a --data logged/{} --out again.csv", files[0]));
    let ran = t.run("replay logged --run b").exits(1);
    says(&ran.stdout, &["1,680 rows have other scores", "p_click: logged 0.", "which is another"]);
    assert_eq!(t.run("replay logged --run b --format json").json()["replay"]["rows_that_differ"], 1680);
    says(&t.fails("replay logged --run other"), &["has no column"]);
    t.write("nolog/readme", "");
    says(&t.fails("replay nolog"), &["there is no log in `nolog`"]);
}

#[test]
fn another_run_takes_over_without_a_lost_request() {
    let t = runs();
    let link = |to: &str| {
        let _ = std::fs::remove_file(t.path("next"));
        std::os::unix::fs::symlink(t.path(to), t.path("next")).unwrap();
        std::fs::rename(t.path("next"), t.path("current")).unwrap();
    };
    link("a");
    let server = Server::start(t, "current --log swapped");
    let body = json!({ "rows": [features(&log::rows(1, 1)[0])] }).to_string();
    let version = |answer: Answer| answer.ok().json()["model"].as_str().unwrap().to_owned();
    let before = version(server.score(&body));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let answers = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|s| {
        let busy: Vec<_> = (0..3)
            .map(|_| {
                s.spawn(|| {
                    let mut seen = std::collections::BTreeSet::new();
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        seen.insert(version(server.score(&body)));
                        answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    seen.len()
                })
            })
            .collect();
        // Each of them has had an answer of the first model, and has one of the second.
        let wait = |more: usize| {
            let enough = answers.load(std::sync::atomic::Ordering::Relaxed) + more;
            while answers.load(std::sync::atomic::Ordering::Relaxed) < enough {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait(30);
        link("b");
        server.signal("-HUP");
        server.tells("answers now");
        wait(30);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(busy.into_iter().map(|b| b.join().unwrap()).any(|seen| seen == 2));
    });
    let after = version(server.score(&body));
    assert_ne!(before, after);
    link("other");
    server.signal("-HUP");
    server.tells("its input columns differ (no longer or of another type: `price`; new or of another type: `day`)");
    t.write("broken/run.json", t.text("a/run.json").replace("\"finished\"", "\"running\""));
    link("broken");
    server.signal("-HUP");
    server.tells("is not finished");
    assert_eq!(version(server.score(&body)), after);
    for (result, n) in [("loaded", 1.0), ("refused", 1.0), ("failed", 1.0)] {
        assert_eq!(server.metric(&format!("esmm_funnel_reloads_total{{result=\"{result}\"}}")), n);
    }
    server.signal("-INT");
    assert_eq!(server.end(), Some(0));
    says(&t.ok("replay swapped").stdout, &["bit for bit"]);
}

#[test]
fn a_folder_of_runs_is_watched() {
    let t = Sandbox::new();
    let copy = |from: &str, to: &str, created: &str| {
        for (name, bytes) in runs().files(from) {
            t.write(&format!("shop/.{to}/{name}"), bytes);
        }
        let mut manifest = runs().json(&format!("{from}/run.json"));
        manifest["created"] = created.into();
        t.write(&format!("shop/.{to}/run.json"), manifest.to_string());
        std::fs::rename(t.path(&format!("shop/.{to}")), t.path(&format!("shop/{to}"))).unwrap();
    };
    copy("b", "old", "2026-01-01T00:00:00Z");
    let server = Server::start(&t, "shop --watch 1");
    let before = server.get("/v1/model").json()["version"].clone();
    copy("a", "new", "2026-01-02T00:00:00Z");
    server.tells("answers now");
    assert_ne!(server.get("/v1/model").json()["version"], before);
}

#[test]
fn requests_under_way_end_before_the_server_does() {
    let server = Server::start(runs(), "a");
    let body = json!({ "rows": [features(&log::rows(1, 1)[0])] }).to_string();
    let mut slow = server.connect();
    let head = format!("POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&body.as_bytes()[..10]).unwrap();
    let idle = server.connect();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("-TERM");
    server.tells("ending");
    slow.write_all(&body.as_bytes()[10..]).unwrap();
    Answer::read(&mut slow).unwrap().ok();
    drop(idle);
    let start = Instant::now();
    assert_eq!(server.end(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn many_at_once_get_what_one_alone_gets() {
    let server = Server::start(runs(), "a --threads 2");
    let rows: Vec<Value> = log::rows(8, 64).iter().map(features).collect();
    let alone: Vec<f64> = rows.iter().map(|r| server.rows(&json!({ "rows": [r] }))[0]["p_purchase"].as_f64().unwrap()).collect();
    std::thread::scope(|s| {
        for thread in 0..8 {
            let (server, rows, alone) = (&server, &rows, &alone);
            s.spawn(move || {
                for i in (0..rows.len()).filter(|i| i % 8 == thread) {
                    let answered = server.rows(&json!({ "rows": [rows[i], rows[(i + 1) % 64]] }));
                    for (answer, j) in answered.iter().zip([i, (i + 1) % 64]) {
                        assert!((answer["p_purchase"].as_f64().unwrap() - alone[j]).abs() < 1e-6);
                    }
                }
            });
        }
    });
}

/// A generator of numbers.
struct Draw(u64);
impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Bodies that are almost right. `ESMM_FUNNEL_FUZZ` sets how many.
#[test]
fn malformed_bodies_never_end_it() {
    let n: usize = std::env::var("ESMM_FUNNEL_FUZZ").ok().map_or(3000, |n| n.parse().unwrap());
    let mut server = Server::start(runs(), "a --log fuzzed");
    let (shared, each, whole) = candidates(3);
    let bodies = [
        json!({ "rows": whole }).to_string().into_bytes(),
        json!({ "shared": shared, "candidates": each, "score": "p_purchase * price + if(p_click > 0.5, 1, 0)", "top_k": 2 })
            .to_string()
            .into_bytes(),
        stream(&arrow_rows(&log::rows(1, 4))),
    ];
    let splices: [&[u8]; 16] = [
        b"null",
        b"NaN",
        b"-1e999",
        b"[[[[[[[[",
        b"{\"a\":",
        b"\"\\ud800\"",
        b"\xff\xfe",
        b"18446744073709551616",
        b"\"\"",
        b"[]",
        b"{}",
        b",",
        b"true",
        b"\x00",
        b"9007199254740993",
        b"\"rows\":",
    ];
    let mut draw = Draw(20_261_124);
    let mut statuses = std::collections::BTreeMap::new();
    for i in 0..n {
        let which = draw.below(3);
        let mut body = bodies[which].clone();
        for _ in 0..=draw.below(4) {
            let at = draw.below(body.len().max(1));
            match draw.below(5) {
                0 => body.truncate(at),
                1 => body.get_mut(at).into_iter().for_each(|b| *b ^= 1 << (i % 8)),
                2 => drop(body.splice(at.min(body.len())..at.min(body.len()), splices[draw.below(16)].iter().copied())),
                3 => drop(body.drain(at.min(body.len())..(at + draw.below(20)).min(body.len()))),
                _ => {
                    let value = (draw.below(usize::MAX >> 1) as u64).to_le_bytes();
                    body.iter_mut().skip(at & !7).zip(value).for_each(|(b, v)| *b = v);
                }
            }
        }
        let kind = if which == 2 { ARROW } else { "application/json" };
        let status = server.ask("POST", "/v1/score", &[("content-type", kind)], &body).status;
        assert!([200, 400, 413, 422].contains(&status), "{status} for {:?}", String::from_utf8_lossy(&body));
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert!(statuses.len() > 2, "{statuses:?}");
    // Nesting as deep as the body is long.
    for open in ["[", "{\"rows\":", "{\"rows\":[{\"x\":"] {
        let status = server.score(open.repeat(100_000)).status;
        assert!([400, 422].contains(&status));
    }
    assert!(server.alive());
    assert_eq!(server.rows(&json!({ "rows": whole })).len(), 3);
    server.signal("-TERM");
    assert_eq!(server.end(), Some(0));
    says(&runs().ok("replay fuzzed").stdout, &["bit for bit"]);
}
