//! Funnels of any shape: drawn, and recovered from generated rows whose truth is known.

#![allow(clippy::unwrap_used)]

mod common;

use common::{PROJECT, SMALL, Sandbox, says};
use serde_json::Value;

#[test]
fn graph_draws_with_rates_and_without() {
    let t = Sandbox::new();
    let esm2 = format!("graph {PROJECT}/funnels/esm2.toml {SMALL}");
    snapshot!("graph_text", t.run(&esm2));
    snapshot!("graph_mermaid", t.run(&format!("{esm2} --as mermaid")));
    let bare = t.ok(&format!("{esm2} --no-rates")).stdout;
    assert!(bare.starts_with("impression\n└─ click\n   ├─ cart\n   │  └─ buy_after_cart\n   └─ buy_direct  unless cart\n"), "{bare}");
    let svg = t.ok(&format!("{esm2} --as svg")).stdout;
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("unless cart") && svg.contains(" %"));
    // As JSON: the numbers, and the drawing that was asked for.
    let json = t.ok(&format!("{esm2} --as svg --format json")).json();
    let (click, direct) = (&json["stages"][0], &json["stages"][3]);
    assert_eq!((&json["rows"], &click["parent"], &direct["unless"]), (&20_000.into(), &Value::Null, &"cart".into()));
    assert_eq!(direct["rows"].as_u64().unwrap(), click["reached"].as_u64().unwrap() - json["stages"][1]["reached"].as_u64().unwrap());
    assert_eq!((json["outcomes"][0]["name"].as_str(), json["drawing"].as_str()), (Some("purchase"), Some(svg.as_str())));
}

#[test]
fn graph_writes_what_the_files_name_says() {
    let t = Sandbox::with_log();
    for (file, start) in [("f.svg", "<svg "), ("f.mmd", "flowchart TD\n"), ("f.txt", "impression  ")] {
        let ran = t.ok(&format!("graph log.toml --out {file}"));
        says(&ran.stdout, &["the funnel is in", file]);
        assert!(t.text(file).starts_with(start), "{}", t.text(file));
    }
    t.ok("graph log.toml --as mermaid --out own.txt");
    assert!(t.text("own.txt").starts_with("flowchart TD\n"));
    // Never over what is there: neither a file nor a folder.
    says(&t.fails("graph log.toml --out log.toml"), &["`log.toml` exists, and drawings never overwrite"]);
    std::fs::create_dir(t.path("folder")).unwrap();
    says(&t.fails("graph log.toml --out folder"), &["`folder` exists"]);
    says(&t.fails("graph log.toml --out no/such/folder.svg"), &["writing `no/such/folder.svg`"]);
}

#[test]
fn graph_needs_no_data_but_a_sound_spec() {
    let t = Sandbox::with_log();
    let spec = t.text("log.toml");
    t.write("gone.toml", spec.replace("train.csv", "gone.csv"));
    let gone = t.ok("graph gone.toml");
    assert_eq!(gone.stdout, "impression\n└─ click\n   └─ purchase\n");
    says(&gone.stderr, &["drawn without rates", "gone.csv"]);
    t.write("bad.toml", spec.replace("mlp", "mpl"));
    says(&t.fails("graph bad.toml"), &["unknown tower `mpl`"]);
}

#[test]
fn every_fault_of_a_graph_at_once() {
    let t = Sandbox::with_log();
    t.write(
        "bad.toml",
        r#"extends = "log.toml"

[funnel]
chain = "impression -> click -> purchase"

[stage.self]
after = "self"

[stage.egg]
after = "hen"

[stage.hen]
after = "egg"

[stage.visit]
after = "mail"

[stage.direct]
after = { stage = "click", unless = "egg" }

[stage.other]
after = { stage = "impression", unless = "click" }

[stage.neither]
after = { stage = "impression", unless = "other" }

[stage.again]
after = "purchase"
label = "purchase"

[stage.slices]
after = "click"

[outcome.click]
any_of = ["direct", "slices"]
"#,
    );
    snapshot!("graph_faults", t.run("check bad.toml").exits(2));
}

/// How far a trained model may stay behind the truth in a space: by AUC; by PCOC from 1; by ECE over the truth's own, as a share of the rate.
struct Margin {
    space: &'static str,
    auc: f64,
    pcoc: f64,
    ece: f64,
}

/// One and a half times the worst seen on the *valid* parts of all funnels here, in the ten worlds of data seeds 11 to 20; the tests judge the
/// test part of a world of another seed. The conditional probabilities of late stages are learnt from few rows, and `entire` asks for them
/// where no row ever was.
const MARGINS: [Margin; 3] = [
    Margin { space: "full", auc: 0.024, pcoc: 0.10, ece: 0.05 },
    Margin { space: "conditional", auc: 0.09, pcoc: 0.085, ece: 0.06 },
    Margin { space: "entire", auc: 0.095, pcoc: 0.115, ece: 0.13 },
];

/// A funnel, the settings of the source that go with it, and the stages that are no estimates of their own, as one outcome's loss sums them.
struct World {
    stages: String,
    source: String,
    summed: &'static [&'static str],
}

impl World {
    fn chain(chain: &str, rates: &str) -> Self {
        Self { stages: format!("[funnel]\nchain = \"row -> {chain}\""), source: format!("rates = [{rates}]"), summed: &[] }
    }

    /// Trains small towers on generated rows; gives the metrics of the test part.
    fn train(&self, more: &str) -> Value {
        let t = Sandbox::new();
        let spec = format!(
            r#"{}
[defaults]
tower = {{ kind = "mlp", hidden = [16] }}
[data]
source = {{ kind = "synthetic", rows = 120000, seed = 101, users = 20, items = 15, latent_dim = 2, {} }}
keys = ["sample_id"]
[split]
kind = "random"
valid = 0.0
test = 0.3
[feature.context]
kind = "id"
columns = ["position", "channel", "hour"]
[feature.pair]
kind = "cross"
columns = ["user_id", "item_id"]
[embedding]
dim = 8
optimizer = {{ kind = "adam", lr = 1e-2 }}
[train]
batch_rows = 1024
epochs = 4
decay = "linear"
optimizer = {{ kind = "adam", lr = 5e-3 }}
"#,
            self.stages, self.source
        );
        t.write("s.toml", spec);
        t.ok(&format!("run s.toml --out r --quiet {more}"));
        t.json("r/metrics.json")["test"].clone()
    }

    /// Names each stage or outcome and space, with what is beyond its margin; nothing where all is within.
    fn judged(&self, test: &Value) -> Vec<(String, Vec<String>)> {
        let names = test.as_object().unwrap().iter().filter(|(name, _)| !self.summed.contains(&name.as_str()));
        names
            .flat_map(|(name, spaces)| {
                MARGINS.iter().filter_map(move |m| Some((format!("{name}.{}", m.space), m.beyond(spaces.get(m.space)?))))
            })
            .collect()
    }

    #[track_caller]
    fn is_recovered(&self, expected: usize) {
        let test = self.train("");
        let judged = self.judged(&test);
        assert_eq!(judged.len(), expected, "{test}");
        let beyond: Vec<_> = judged.iter().filter(|(_, beyond)| !beyond.is_empty()).collect();
        assert!(beyond.is_empty(), "{beyond:#?}");
    }
}

impl Margin {
    fn beyond(&self, of: &Value) -> Vec<String> {
        let number = |of: &Value, key: &str| of[key].as_f64().unwrap_or(f64::NAN);
        let rate = number(of, "positives") / number(of, "rows");
        let behind = number(&of["best"], "auc") - number(of, "auc");
        let pcoc = number(of, "pcoc") - 1.0;
        let ece = (number(of, "ece") - number(&of["best"], "ece")) / rate;
        let within = [("AUC behind by", behind, self.auc), ("PCOC off by", pcoc.abs(), self.pcoc), ("ECE over by", ece, self.ece)];
        // The truth itself tells the rows apart; and NaN is not within.
        let poor = (number(&of["best"], "auc") < 0.65).then(|| format!("the truth's own AUC is {}", of["best"]["auc"]));
        let beyond = within.into_iter().filter(|(_, value, most)| value.is_nan() || value > most);
        beyond.map(|(what, value, most)| format!("{what} {value:.4}, more than {most}")).chain(poor).collect()
    }
}

#[test]
fn chains_of_two_three_and_four_stages_are_recovered() {
    World::chain("click -> buy", "0.3, 0.3").is_recovered(6);
    World::chain("click -> cart -> buy", "0.4, 0.5, 0.4").is_recovered(9);
    World::chain("click -> cart -> buy -> again", "0.5, 0.6, 0.6, 0.6").is_recovered(12);
}

#[test]
fn a_chain_of_seven_stages_is_recovered() {
    let chain = "recall -> pre_rank -> rank -> show -> click -> buy -> again";
    World::chain(chain, "0.8, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6").is_recovered(21);
}

/// A click leads into the cart or not, and either way to a purchase. `label` is a line for both ways to buy.
fn branches(label: &str) -> String {
    format!(
        r#"
[funnel]
name = "esm2"
row = "impression"
[stage.click]
after = "impression"
[stage.cart]
after = "click"
[stage.buy_after_cart]
after = "cart"
{label}
[stage.buy_direct]
after = {{ stage = "click", unless = "cart" }}
{label}
"#
    )
}
const BRANCHES: &str = r#"rates = [0.5, 0.5, 0.6, 0.3]"#;

#[test]
fn branches_with_labels_of_their_own_are_recovered() {
    World { stages: branches(""), source: BRANCHES.into(), summed: &[] }.is_recovered(12);
}

#[test]
fn an_outcome_over_branches_is_recovered() {
    let stages = branches("label = \"buy\"") + "[outcome.purchase]\nany_of = [\"buy_after_cart\", \"buy_direct\"]";
    // The loss sees the sum of the two ways, so the sum is what can be recovered, and not how it is shared out.
    let world = World { stages, source: BRANCHES.into(), summed: &["buy_after_cart", "buy_direct"] };
    world.is_recovered(7);
}

#[test]
fn a_model_that_learnt_nothing_is_beyond_every_margin() {
    let world = World::chain("click -> buy", "0.3, 0.3");
    let test = world.train("--set train.optimizer.lr=1e-9 --set embedding.optimizer.lr=1e-9 --set train.epochs=1");
    for (what, beyond) in world.judged(&test) {
        assert!(!beyond.is_empty(), "{what}: {test}");
    }
}
