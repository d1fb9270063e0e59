use super::*;
use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Int64Type, UInt8Type};
use esmm_funnel_core::graph::Node;
use std::collections::BTreeMap;

fn stages(names: &[&str]) -> Vec<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}
fn settings(text: &str) -> Synthetic {
    toml_settings(text).unwrap()
}
fn toml_settings(text: &str) -> anyhow::Result<Synthetic> {
    use esmm_funnel_core::plugin::registry;
    let plugin = registry::find(registry::Kind::Source, "synthetic").unwrap();
    let mut table = (plugin.defaults)();
    for setting in text.split(';').filter(|s| !s.trim().is_empty()) {
        let (key, value) = setting.split_once('=').unwrap();
        let number = |v: &str| v.trim().parse::<i64>().map_or_else(|_| v.trim().parse::<f64>().unwrap().into(), Into::into);
        let value = match value.trim().strip_prefix('[') {
            Some(list) => list.trim_end_matches(']').split(',').map(number).collect::<Vec<_>>().into(),
            None => number(value),
        };
        table.insert(key.trim().to_owned(), value);
    }
    registry::decode(&table)
}
/// A graph of stages written as `name`, `name:parent`, `name:parent!unless`, any with `=label` behind it. Without a parent a stage follows the
/// one before it; the empty parent is the row.
fn graph(stages: &[&str]) -> Graph {
    let mut nodes: Vec<Node> = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let (path, label) = stage.split_once('=').map_or((*stage, None), |(path, label)| (path, Some(label)));
        let (name, after) = path.split_once(':').map_or((path, None), |(name, after)| (name, Some(after)));
        let at = |name: &str| nodes.iter().position(|n| n.name == name);
        let (parent, unless) = match after.map(|a| a.split_once('!').map_or((a, None), |(p, u)| (p, Some(u)))) {
            None => (i.checked_sub(1), None),
            Some((parent, unless)) => (at(parent), unless.and_then(at)),
        };
        nodes.push(Node { name: name.into(), label: label.unwrap_or(name).into(), parent, unless });
    }
    Graph::new("row".into(), nodes, Vec::new())
}
fn opened(settings: &Synthetic, stages: &[&str]) -> SyntheticSource {
    let graph = graph(stages);
    settings.open(None, &graph).unwrap();
    let (rates, columns) = (settings.rates_of(&graph).unwrap(), Column::all(&graph));
    SyntheticSource { settings: settings.clone(), graph: Arc::new(graph), rates, columns, world: Arc::default() }
}
fn read(source: &SyntheticSource, columns: &[&str], chunk_rows: u64) -> RecordBatch {
    let chunks: Vec<_> = source.chunks(&stages(columns), chunk_rows).unwrap().map(|c| c.unwrap().records).collect();
    concat_batches(&chunks[0].schema(), &chunks).unwrap()
}
fn all(source: &SyntheticSource) -> RecordBatch {
    let names: Vec<_> = source.columns.iter().map(|(n, _)| n.as_str()).collect();
    read(source, &names, CHUNK_ROWS)
}
fn flags(batch: &RecordBatch, name: &str) -> Vec<bool> {
    batch[name].as_primitive::<UInt8Type>().values().iter().map(|&v| v == 1).collect()
}
fn floats(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch[name].as_primitive::<Float32Type>().values().iter().map(|&v| f64::from(v)).collect()
}
fn ids(batch: &RecordBatch, name: &str) -> Vec<i64> {
    batch[name].as_primitive::<Int64Type>().values().to_vec()
}
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    sum / n
}
fn rate(of: &[bool], among: &[bool]) -> f64 {
    mean(of.iter().zip(among).filter(|(_, a)| **a).map(|(&o, _)| f64::from(u8::from(o))))
}
fn mean_of(p: &[f64], among: &[bool]) -> f64 {
    mean(p.iter().zip(among).filter(|(_, a)| **a).map(|(p, _)| *p))
}
/// Of pairs without ties.
fn auc(labels: &[bool], p: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut negatives, mut positives, mut pairs) = (0.0, 0.0, 0.0);
    for i in order {
        if labels[i] {
            positives += 1.0;
            pairs += negatives;
        } else {
            negatives += 1.0;
        }
    }
    pairs / (positives * negatives)
}
fn among<T: Copy>(values: &[T], which: &[bool]) -> Vec<T> {
    values.iter().zip(which).filter(|(_, w)| **w).map(|(v, _)| *v).collect()
}

#[test]
fn rows_depend_on_the_settings_and_not_on_how_they_are_read() {
    let small = settings("rows = 5000; users = 300; items = 200");
    let (a, b) = (opened(&small, &["click", "buy"]), opened(&small, &["click", "buy"]));
    let names: Vec<_> = a.columns.iter().map(|(n, _)| n.as_str()).collect();
    let whole = read(&a, &names, 5000);
    assert_eq!(whole, read(&b, &names, 777));
    assert_eq!(whole.num_rows(), 5000);
    for name in &names {
        assert_eq!(&whole[*name], &read(&b, &[*name], 1024)[*name], "{name}");
    }
    assert_ne!(whole, all(&opened(&settings("rows = 5000; users = 300; items = 200; seed = 8"), &["click", "buy"])));
    // Only labels differ when a hidden factor is added.
    let hidden = all(&opened(&settings("rows = 5000; users = 300; items = 200; confounding = 1.5"), &["click", "buy"]));
    assert_eq!(ids(&whole, "item_id"), ids(&hidden, "item_id"));
    assert_ne!(floats(&whole, "truth.p.click"), floats(&hidden, "truth.p.click"));
}

#[test]
fn chunks_have_the_schema_that_was_promised_and_count_rows_from_one() {
    let source = settings("rows = 40000; users = 300; items = 200").open(None, &graph(&["click"])).unwrap();
    let schema = source.schema().unwrap();
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut next = 1;
    for chunk in source.read(0, &names).unwrap() {
        let chunk = chunk.unwrap();
        assert_eq!(chunk.records.schema(), schema);
        assert_eq!(chunk.numbers.get(0), next);
        next += chunk.records.num_rows() as u64;
    }
    assert_eq!(next, 40_001);
    let none = source.read(0, &[]).unwrap().map(|c| c.unwrap().records.num_rows()).sum::<usize>();
    assert_eq!(none, 40_000);
    assert!(source.read(1, &[]).is_err());
    let error = source.read(0, &stages(&["clik"])).err().unwrap().to_string();
    assert!(error.starts_with("the synthetic source has no column `clik`; it has sample_id, day,"), "{error}");
    assert_eq!(source.truth()[0].probability, "truth.p.click");
    assert_eq!(source.truth()[0].outcome, "truth.cf.click");
}

#[test]
fn users_and_items_have_attributes_of_their_own() {
    let batch = all(&opened(&settings("rows = 30000; users = 300; items = 200"), &["click"]));
    for (key, columns) in [
        ("user_id", &["user_age", "user_city", "user_segment", "user_recent", "user_recent_w"][..]),
        ("item_id", &["item_category", "item_shop", "item_brand", "price"][..]),
    ] {
        let mut first = BTreeMap::new();
        for (row, key) in ids(&batch, key).into_iter().enumerate() {
            let seen = *first.entry(key).or_insert(row);
            for &column in columns {
                assert_eq!(batch[column].slice(row, 1).to_data(), batch[column].slice(seen, 1).to_data(), "{column}");
            }
        }
        assert!(first.len() > 190);
    }
    let days = ids(&batch, "day");
    assert!(days.is_sorted() && days[0] == 0 && days[29_999] == 29);
    let (bags, weights) = (batch["user_recent"].as_list::<i32>(), batch["user_recent_w"].as_list::<i32>());
    assert_eq!(bags.offsets(), weights.offsets());
    assert!(bags.iter().any(|b| b.unwrap().is_empty()) && bags.iter().any(|b| b.unwrap().len() == 6));
}

#[test]
fn the_default_world_is_a_biased_funnel_with_the_rates_asked_for() {
    for seed in [7, 1, 2, 3, 4, 5, 6] {
        let source = opened(&settings(&format!("seed = {seed}")), &["click", "purchase"]);
        let batch =
            read(&source, &["click", "purchase", "truth.p.click", "truth.p.purchase", "truth.cf.click", "truth.cf.purchase"], CHUNK_ROWS);
        let (click, purchase) = (flags(&batch, "click"), flags(&batch, "purchase"));
        let (p_click, p_purchase) = (floats(&batch, "truth.p.click"), floats(&batch, "truth.p.purchase"));
        let (every, unclicked): (Vec<_>, Vec<_>) = click.iter().map(|c| (true, !c)).unzip();
        let would_buy = flags(&batch, "truth.cf.purchase");
        assert_eq!(click, flags(&batch, "truth.cf.click"));
        assert!(purchase.iter().zip(&click).zip(&would_buy).all(|((&b, &c), &w)| b == (c && w)));
        // Rates, and truth that is calibrated on every space.
        assert!((rate(&click, &every) - 0.04).abs() < 0.001, "{}", rate(&click, &every));
        assert!((rate(&purchase, &click) - 0.05).abs() < 0.006, "{}", rate(&purchase, &click));
        assert!((mean_of(&p_click, &every) / rate(&click, &every) - 1.0).abs() < 0.02);
        assert!((mean_of(&p_purchase, &click) / rate(&purchase, &click) - 1.0).abs() < 0.12);
        assert!((mean_of(&p_purchase, &every) / rate(&would_buy, &every) - 1.0).abs() < 0.03);
        // Selection bias.
        let ratio = mean_of(&p_purchase, &click) / mean_of(&p_purchase, &unclicked);
        let conditional = auc(&among(&purchase, &click), &among(&p_purchase, &click));
        let (first, entire) = (auc(&click, &p_click), auc(&would_buy, &p_purchase));
        assert!(ratio > 1.4, "{ratio}");
        for auc in [first, conditional, entire] {
            assert!((0.75..0.85).contains(&auc), "{auc}");
        }
    }
}

#[test]
fn longer_chains_nest_and_position_turns_round() {
    let source = opened(&settings("rows = 200000; rates = [0.1]"), &["click", "cart", "buy"]);
    let batch = all(&source);
    let labels: Vec<_> = ["click", "cart", "buy"].iter().map(|s| flags(&batch, s)).collect();
    let every = vec![true; 200_000];
    for (reached, before, expected) in [(&labels[0], &every, 0.1), (&labels[1], &labels[0], 0.3), (&labels[2], &labels[1], 0.3)] {
        assert!(reached.iter().zip(before).all(|(r, b)| !r || *b));
        assert!((rate(reached, before) / expected - 1.0).abs() < 0.06, "{}", rate(reached, before));
    }
    let top: Vec<_> = ids(&batch, "position").into_iter().map(|p| p <= 3).collect();
    let rest: Vec<_> = top.iter().map(|t| !t).collect();
    let lift = |stage: &str| {
        mean_of(&floats(&batch, &format!("truth.p.{stage}")), &top) / mean_of(&floats(&batch, &format!("truth.p.{stage}")), &rest)
    };
    assert!(lift("click") > 1.2 && lift("cart") < 0.9 && lift("buy") < 0.9);
}

/// Click, then cart or not, then a purchase on either way under one label.
const BRANCHES: [&str; 4] = ["click", "cart", "buy_after_cart=buy", "buy_direct:click!cart=buy"];
fn branches(rows: u64) -> Synthetic {
    Synthetic { rows, rates: vec![0.2, 0.3, 0.4, 0.1], ..Synthetic::default() }
}

#[test]
fn branches_exclude_each_other_and_share_a_label() {
    let batch = all(&opened(&branches(200_000), &BRANCHES));
    let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    let others = ["buy", "truth.p.buy_direct", "truth.cf.buy_direct"];
    assert!(others.iter().all(|n| names.iter().any(|m| m == n)) && !names.iter().any(|n| n == "buy_direct"), "{names:?}");
    let (click, cart, buy) = (flags(&batch, "click"), flags(&batch, "cart"), flags(&batch, "buy"));
    let direct: Vec<_> = click.iter().zip(&cart).map(|(&click, &cart)| click && !cart).collect();
    for (of, among, expected) in [(&cart, &click, 0.3), (&buy, &cart, 0.4), (&buy, &direct, 0.1)] {
        assert!((rate(of, among) / expected - 1.0).abs() < 0.05, "{} of {expected}", rate(of, among));
    }
    // The truth is calibrated in each space, and what would have come of a row is what came where it was in the space.
    for (stage, space) in [("buy_after_cart", &cart), ("buy_direct", &direct)] {
        let (p, cf) = (floats(&batch, &format!("truth.p.{stage}")), flags(&batch, &format!("truth.cf.{stage}")));
        assert!((mean_of(&p, space) / rate(&buy, space) - 1.0).abs() < 0.08, "{stage}");
        assert_eq!(among(&cf, space), among(&buy, space));
    }
    let unclicked: Vec<_> = click.iter().map(|c| !c).collect();
    assert!(rate(&buy, &unclicked) == 0.0);
    // Branches move labels and intercepts, never features.
    let chain = all(&opened(&branches(200_000), &["click", "cart", "buy_after_cart", "buy_direct"]));
    assert_eq!(floats(&batch, "truth.p.cart"), floats(&chain, "truth.p.cart"));
    assert_eq!(ids(&batch, "item_id"), ids(&chain, "item_id"));
}

/// Two levels of branches, and two stages besides that follow the row and the first one.
const NESTED: [&str; 11] = [
    "click",
    "look",
    "skim:click!look",
    "cart_look:look",
    "cart_skim:skim",
    "buy_look_cart:cart_look=buy",
    "buy_look:look!cart_look=buy",
    "buy_skim_cart:cart_skim=buy",
    "buy_skim:skim!cart_skim=buy",
    "hide:!click",
    "wish:click",
];

#[test]
fn any_graph_reads_back_as_it_was_drawn() {
    let rates = vec![0.4, 0.4, 0.5, 0.4, 0.3, 0.5, 0.3, 0.6, 0.2, 0.1, 0.3];
    let settings = Synthetic { rows: 100_000, rates, ..Synthetic::default() };
    let source = opened(&settings, &NESTED);
    let (batch, graph) = (all(&source), &source.graph);
    let labels: Vec<Vec<u8>> = graph.nodes.iter().map(|n| flags(&batch, &n.label).into_iter().map(u8::from).collect()).collect();
    let read = graph.flags(&labels);
    for (s, node) in graph.nodes.iter().enumerate() {
        let (space, name) = (&read.in_space[s], &node.name);
        let reached: Vec<bool> = read.reached[s].iter().map(|&r| r != 0).collect();
        let drawn: Vec<bool> = flags(&batch, &format!("truth.cf.{name}")).iter().zip(space).map(|(&cf, &inside)| cf && inside).collect();
        assert_eq!(reached, drawn, "{name}: what came is what would have come, in its space");
        let (rate, expected) = (rate(&reached, space), settings.rates[s]);
        assert!((rate / expected - 1.0).abs() < 0.06, "{name}: {rate} of {expected}");
        let p = mean_of(&floats(&batch, &format!("truth.p.{name}")), space);
        assert!((p / rate - 1.0).abs() < 0.06, "{name}: {p} of {rate}");
    }
    // No label is 1 on a row that reached none of its stages.
    for (row, &buy) in flags(&batch, "buy").iter().enumerate() {
        let ways = (0..graph.len()).filter(|&s| graph.nodes[s].label == "buy" && read.reached[s][row] != 0).count();
        assert_eq!(ways, usize::from(buy));
    }
}

#[test]
fn bad_graphs_are_refused() {
    for (stages, expected) in [
        (
            ["click", "cart", "buy_after_cart=buy", "buy_direct:click=buy"],
            "stages `buy_after_cart` and `buy_direct` share the label `buy`, but one row can reach both or pass from one's path into the other's",
        ),
        (["click", "cart=day", "buy", "again"], "stage `day` has the name of another column of the synthetic source"),
    ] {
        assert_eq!(Synthetic::default().open(None, &graph(&stages)).err().unwrap().to_string(), expected);
    }
}

#[test]
fn bad_settings_are_refused() {
    for (text, names, expected) in [
        ("rates = [0.1, 0.2]", &["click"][..], "`rates` has 2 values for 1 stage: click"),
        ("rates = [0.1, 1.0]", &["click", "buy"], "`rates`: the rate of stage `buy` must be between 0 and 1, not 1"),
        ("rates = [0.0]", &["click"], "`rates`: the rate of stage `click` must be between 0 and 1, not 0"),
        ("users = 0", &["click"], "`users` must be from 1 to 50000000, not 0"),
        ("items = 0", &["click"], "`items` must be from 1 to 50000000, not 0"),
        ("rows = 0", &["click"], "`rows` must be at least 1"),
        ("latent_dim = 0", &["click"], "`latent_dim` must be from 1 to 256, not 0"),
        ("similarity = 1.5", &["click"], "`similarity` must be from -1 to 1, not 1.5"),
        ("signal = -1.0", &["click"], "`signal` must be from 0 to 10, not -1"),
        ("confounding = NaN", &["click"], "`confounding` must be from 0 to 10, not NaN"),
        ("", &[], "a synthetic source needs at least one stage"),
        ("", &["click", "day"], "stage `day` has the name of another column of the synthetic source"),
        ("", &["click", "click"], "stage `click` has the name of another column of the synthetic source"),
    ] {
        let error = settings(text).open(None, &graph(names)).err().unwrap().to_string();
        assert_eq!(error, expected);
    }
    let error = Synthetic::default().open(Some(&[]), &graph(&["click"])).err().unwrap().to_string();
    assert_eq!(error, "a synthetic source has no files");
    assert!(toml_settings("rowz = 3").is_err());
    // The smallest and the flattest worlds are worlds.
    for text in ["rows = 1; users = 1; items = 1", "rows = 50; signal = 0", "rows = 50; similarity = -1.0; latent_dim = 1"] {
        assert!(floats(&all(&opened(&settings(text), &["a", "b", "c"])), "truth.p.c").iter().all(|p| p.is_finite()), "{text}");
    }
}

#[test]
fn inputs_change_when_rows_do() {
    let of = |text: &str, names: &[&str]| opened(&settings(text), names).inputs().unwrap().remove(0).fingerprint;
    assert_eq!(of("", &["click"]), of("seed = 7", &["click"]));
    assert_ne!(of("", &["click"]), of("seed = 8", &["click"]));
    assert_ne!(of("", &["click"]), of("", &["view"]));
}
