//! What good specs become.

use super::super::*;
use super::{FUNNEL, good, good_with};

/// The example of the design, whole.
pub const FULL: &str = r#"# The paper's funnel.
[funnel]
name = "ctr_cvr"
row  = "impression"

[stage.click]
after = "impression"
label = "click"
tower = { kind = "mlp", hidden = [360, 200, 80] }

[stage.purchase]
after = "click"
label = "purchase"
tower = { kind = "mlp", hidden = [360, 200, 80] }

[objective]
kind = "entire_space"

[data]
source = { kind = "synthetic", rows = 400_000, seed = 7 }
keys   = ["sample_id"]
weight = "w"
orphan_labels = "clear_child"

[split]
kind = "random"
valid = 0.1
test  = 0.2
seed  = 1

[entity.user]
key = "user_id"

[feature.user]
kind = "id"
columns = ["user_*"]
of = "user"
min_count = 10
[feature.item]
kind = "id"
columns = ["item_*"]
[feature.shops]
kind = "bag"
columns = ["shops"]
weights = "shops_w"
pooling = "sum"
share_with = "shop_id"
[feature.price]
kind = "number"
columns = ["price"]
transform = "log1p"
[feature.age]
kind = "number"
transform = { bucketize = { edges = [18, 30.5, 65] } }
[feature.when]
kind = "time"
columns = ["event_time"]
parts = ["hour", "weekday"]
unit = "milliseconds"
timezone = "-03:30"

[embedding]
dim = 18
optimizer = { kind = "adam", lr = 3e-4 }

[train]
batch_rows = 4096
optimizer = { kind = "adam", lr = 1e-3, l2 = 0.0 }
monitor = "purchase.full.auc"

[metrics]
gauc_by = "user_id"
slices  = ["channel"]
"#;

/// ESM²: two ways to buy.
pub const ESM2: &str = r#"
features = "infer"
[funnel]
row = "impression"
[stage.click]
after = "impression"
[stage.buy_direct]
after = { stage = "click", unless = "cart" }
label = "purchase"
[stage.cart]
after = "click"
tower = "linear"
[stage.buy_after_cart]
after = "cart"
label = "purchase"
init_bias = -3
features = { without = ["position"] }
[outcome.purchase]
any_of = ["buy_after_cart", "buy_direct"]
[data]
source = { kind = "csv", files = ["a.csv", "logs/*.csv.gz"] }
[split]
kind = "column"
column = "day"
train_through = 2024-05-29
valid_through = 2024-05-30
"#;

#[test]
fn the_whole_example() {
    let spec = good(FULL);
    assert_eq!(spec.funnel.name, "ctr_cvr");
    assert_eq!(spec.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["click", "purchase"]);
    assert_eq!(spec.stages[1].after, After::Stage("click".into()));
    assert_eq!(spec.stages[0].tower.kind, "mlp");
    assert_eq!(spec.stages[0].tower.settings["hidden"], toml::Value::from(vec![360, 200, 80]));
    assert_eq!(spec.stages[0].init_bias, InitBias::Named(InitBiasName::BaseRate));
    assert_eq!(spec.data.source.settings["rows"].as_integer(), Some(400_000));
    assert_eq!((spec.data.orphan_labels, spec.data.weight.as_deref()), (OrphanLabels::ClearChild, Some("w")));
    let features: Vec<_> = spec.features.declared.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(features, ["user", "item", "shops", "price", "age", "when"]);
    let when = &spec.features.declared[5];
    assert_eq!((&when.parts[..], when.unit), (&[TimePart::Hour, TimePart::Weekday][..], Some(TimeUnit::Milliseconds)));
    assert_eq!(when.timezone.offset().seconds(), -12_600);
    assert_eq!(spec.features.declared[4].columns, ["age"]);
    assert_eq!(spec.features.declared[4].transform, Transform::Bucketize(Buckets::Edges(vec![18.0, 30.5, 65.0])));
    assert!(!spec.features.infer);
    assert_eq!(spec.train.optimizer, Optimizer::adam(1e-3));
    assert_eq!(spec.metrics.slices, ["channel"]);
}

#[test]
fn the_short_form() {
    let spec = good(FUNNEL);
    assert_eq!(spec.funnel.name, "ctr_cvr", "the file's name");
    assert!(spec.features.infer);
    assert_eq!(spec.stages.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(), ["click", "purchase"]);
    assert_eq!(spec.stages[0].tower.kind, "mlp");
    assert_eq!((spec.encoder.kind.as_str(), spec.objective.kind.as_str()), ("concat", "entire_space"));
    assert_eq!(spec.data.source.settings["files"], toml::Value::from(vec!["/base/funnels/log.csv"]));
    assert_eq!(spec.split, Split::default());
    assert_eq!(spec.place_near("stage.click.after").map(|p| p.line_column()), Some((2, 9)));
}

#[test]
fn esm2_stages_come_parents_and_siblings_first() {
    let spec = good(ESM2);
    let names: Vec<_> = spec.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["click", "cart", "buy_direct", "buy_after_cart"]);
    assert_eq!(spec.stages[2].after, After::Complement { stage: "click".into(), unless: "cart".into() });
    assert_eq!(spec.stages[3].init_bias, InitBias::Value(-3.0));
    assert_eq!(spec.outcomes[0].any_of, ["buy_after_cart", "buy_direct"]);
    assert!(matches!(&spec.split, Split::Column { train_through: Scalar::Datetime(_), test_from: None, .. }), "{:?}", spec.split);
    assert_eq!(crate::graph::Graph::of(&spec).targets.len(), 5);
}

#[test]
fn defaults_give_towers() {
    let text =
        format!("{FUNNEL}[defaults]\ntower = {{ kind = \"mlp\", hidden = [8], dropout = 0.5 }}\n[stage.purchase.tower]\nhidden = [4]\n");
    let spec = good(&text);
    assert_eq!(spec.stages[0].tower.settings["hidden"], toml::Value::from(vec![8]));
    assert_eq!(spec.stages[0].tower.path, "stage.click.tower");
    assert_eq!(spec.stages[1].tower.settings["hidden"], toml::Value::from(vec![4]));
    assert_eq!(spec.stages[1].tower.settings["dropout"].as_float(), Some(0.5));
    assert_eq!(spec.place("stage.click.tower.hidden").map(|p| p.line_column().0), Some(6));
    let spec = good(&format!("{FUNNEL}[defaults]\ntower = \"linear\"\n[stage.purchase.tower]\nkind = \"mlp\"\n"));
    assert_eq!((spec.stages[0].tower.kind.as_str(), spec.stages[1].tower.kind.as_str()), ("linear", "mlp"));
}

#[test]
fn bare_names_and_a_split_without_kind() {
    let text = "objective = \"conditional\"\nencoder = \"concat\"\n".to_owned()
        + FUNNEL
        + "[train]\noptimizer = \"sgd\"\n[embedding]\noptimizer = \"adagrad\"\n[split]\nvalid = 0.3\n";
    let spec = good(&text);
    assert_eq!(spec.objective.kind, "conditional");
    assert!(matches!(spec.train.optimizer, Optimizer::Sgd { .. }));
    assert!(matches!(spec.embedding.optimizer, Optimizer::Adagrad { .. }));
    assert_eq!(spec.split, Split::Random { valid: 0.3, test: 0.2, seed: 1 });
}

#[test]
fn a_stage_may_branch_off_a_chain() {
    let spec = good(&format!("{FUNNEL}[stage.share]\nafter = \"click\"\n[stage.purchase]\nlabel = \"buy\"\nweight = 2\n"));
    assert_eq!(spec.stages.len(), 3);
    assert_eq!((spec.stages[1].label.as_str(), spec.stages[1].weight), ("buy", 2.0));
}

#[test]
fn places_of_keys() {
    let spec = good(FULL);
    let at = |key: &str| spec.place(key).map(|p| p.source.text[p.span].to_owned());
    assert_eq!(at("stage.click.label").as_deref(), Some("\"click\""));
    assert_eq!(at("feature.user.columns").as_deref(), Some("[\"user_*\"]"));
    assert_eq!(at("feature.user.columns[0]").as_deref(), Some("\"user_*\""));
    assert_eq!(at("data.source.rows").as_deref(), Some("400_000"));
    assert_eq!(at("train.epochs"), None);
    assert!(spec.place_near("data.source.files").is_some_and(|p| p.line_column().0 == 20));
    assert_eq!(spec.place_near("nothing"), None);
}

#[test]
fn the_resolved_spec_loads_as_an_equal_one() {
    let with_names =
        format!("{FUNNEL}[feature.\"a b.c\"]\nkind = \"id\"\n[split]\nkind = \"files\"\nvalid = [\"v/*.csv\"]\ntest = [\"../t.csv\"]\n");
    let odd = format!("{FUNNEL}[feature.bag]\nkind = \"bag\"\nseparator = \"\\n\\\"\\t\"\nmissing = [\"\", \"a\\\\b\"]\n");
    let edited =
        format!("{FUNNEL}[split]\nkind = \"column\"\ncolumn = \"d\"\ntrain_through = \"2024\"\nvalid_through = 3\ntest_from = 4.5\n");
    for text in [FULL, ESM2, FUNNEL, &with_names, &odd, &edited] {
        let spec = good_with(text, &["train.epochs=3"]);
        let resolved = spec.resolved();
        let again = match load_text("resolved.toml", &resolved, Path::new("/elsewhere"), &[]) {
            Ok(loaded) => loaded.spec,
            Err(e) => panic!("{e}\n{resolved}"),
        };
        assert_eq!(again, spec, "{resolved}");
        assert_eq!(diff(&spec, &again), []);
        assert!(!resolved.contains("extends"));
    }
}

#[test]
fn every_key_says_where_it_came_from() {
    let spec = good_with(FULL, &["train.seed=9"]);
    let resolved = spec.resolved();
    for line in [
        "epochs = 1  # default",
        "batch_rows = 4096  # funnels/ctr_cvr.toml:67",
        "seed = 9  # --set",
        "dropout = 0.0  # default",
        "hidden = [360, 200, 80]  # funnels/ctr_cvr.toml:9",
        "# hash_rows is not set  # default",
        "[stage.click.tower]",
        "[train.optimizer]",
    ] {
        assert!(resolved.lines().any(|l| l == line), "no {line} in\n{resolved}");
    }
    let json = spec.settings_json();
    let find = |key: &str| json.as_array().into_iter().flatten().find(|s| s["key"] == key).cloned().unwrap_or_default();
    assert_eq!(find("train.seed"), serde_json::json!({"key": "train.seed", "value": 9, "origin": "--set"}));
    assert_eq!(find("stage.click.tower.dropout")["origin"], "default");
    // A chain is where its stages' parents come from.
    assert!(good(FUNNEL).resolved().contains("after = \"impression\"  # funnels/ctr_cvr.toml:2"));
}

#[test]
fn differences_by_key() {
    let old = good(FULL);
    let new = good_with(FULL, &["stage.click.tower=linear", "train.epochs=2", "metrics.gauc_by=item"]);
    let changes = diff(&old, &new);
    let keys: Vec<_> = changes.iter().map(|(k, ..)| k.as_str()).collect();
    let tower = ["stage.click.tower.kind", "stage.click.tower.hidden", "stage.click.tower.dropout", "stage.click.tower.activation"];
    assert_eq!(keys, tower.into_iter().chain(["train.epochs", "metrics.gauc_by"]).collect::<Vec<_>>());
    assert_eq!(changes[0], (tower[0].into(), Some("mlp".into()), Some("linear".into())));
    assert_eq!(changes[1].2, None);
}
