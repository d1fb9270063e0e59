//! Objectives against [`super::oracle`]: value and gradient of what they compute in f32, in log space, on tensors.

use super::oracle::{self, Counting, Line, Numbers, Point, Rows};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device, cpu};
use esmm_funnel_core::graph::{Graph, Node};
use esmm_funnel_core::plugin::input::Noise;
use esmm_funnel_core::plugin::registry::find;
use esmm_funnel_core::plugin::{Build, Head, Kind, Loss, Objective};

type Lists = fn(&mut Point) -> &mut Vec<Vec<f64>>;
type Oracle = fn(&Rows, &Point, &Point, bool) -> Vec<Line>;

/// Settings, and the oracle of each objective with these settings; its last argument says whether weights are learned.
const CASES: [(&str, &str, Oracle); 13] = [
    ("entire_space", "", |rows, at, _, _| oracle::entire_space(rows, at)),
    ("conditional", "", |rows, at, fixed, _| oracle::conditional(rows, at, fixed, Counting { outside: 0.0, copies: 1.0, weights: None })),
    ("conditional", "outside_rate = 0.4", |rows, at, fixed, _| {
        oracle::conditional(rows, at, fixed, Counting { outside: 0.4, copies: 1.0, weights: None })
    }),
    ("conditional", "outside_rate = 1.0\npositive_copies = 3", |rows, at, fixed, _| {
        oracle::conditional(rows, at, fixed, Counting { outside: 1.0, copies: 3.0, weights: None })
    }),
    ("conditional", "positive_copies = 5", |rows, at, fixed, _| {
        oracle::conditional(rows, at, fixed, Counting { outside: 0.0, copies: 5.0, weights: None })
    }),
    ("conditional", "inverse_propensity = true\nmax_weight = 2.5", |rows, at, fixed, _| {
        let clips = Numbers { lambda_c: 0.0, lambda_g: 0.0, max_weight: 2.5, min_propensity: 1e-6 };
        oracle::conditional(rows, at, fixed, Counting { outside: 0.0, copies: 1.0, weights: Some(clips) })
    }),
    ("conditional", "inverse_propensity = true\nmin_propensity = 0.3\nmax_weight = 100\npositive_copies = 2", |rows, at, fixed, _| {
        let clips = Numbers { lambda_c: 0.0, lambda_g: 0.0, max_weight: 100.0, min_propensity: 0.3 };
        oracle::conditional(rows, at, fixed, Counting { outside: 0.0, copies: 2.0, weights: Some(clips) })
    }),
    ("escm2_ips", "counterfactual_weight = 0.3\nglobal_weight = 0.7\nmax_weight = 2.5", |rows, at, fixed, _| {
        oracle::ips(rows, at, fixed, Numbers { lambda_c: 0.3, lambda_g: 0.7, max_weight: 2.5, min_propensity: 1e-6 })
    }),
    ("escm2_ips", "max_weight = 100\nmin_propensity = 0.3", |rows, at, fixed, _| {
        oracle::ips(rows, at, fixed, Numbers { lambda_c: 0.1, lambda_g: 1.0, max_weight: 100.0, min_propensity: 0.3 })
    }),
    ("escm2_dr", "counterfactual_weight = 0.3\nglobal_weight = 0.7\nmax_weight = 2.5", |rows, at, fixed, _| {
        oracle::dr(rows, at, fixed, Numbers { lambda_c: 0.3, lambda_g: 0.7, max_weight: 2.5, min_propensity: 1e-6 }, false)
    }),
    ("escm2_dr", "counterfactual_weight = 0.5\nrouting = 'separate'", |rows, at, fixed, _| {
        oracle::dr(rows, at, fixed, Numbers { lambda_c: 0.5, lambda_g: 1.0, max_weight: 15.0, min_propensity: 1e-6 }, true)
    }),
    ("dcmt", "constraint_weight = 0.2\nmax_weight = 2.5", |rows, at, fixed, _| {
        oracle::dcmt(rows, at, fixed, Numbers { lambda_c: 0.0, lambda_g: 1.0, max_weight: 2.5, min_propensity: 1e-6 }, 0.2)
    }),
    ("nise", "alpha = 0.8\nbeta = 1.5", |rows, at, fixed, learned| oracle::nise(rows, at, fixed, (0.8, 1.5), !learned)),
];

/// Numbers that look random.
struct Draw(u64);
impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
    fn many(&mut self, lists: usize, n: usize, low: f64, high: f64) -> Vec<Vec<f64>> {
        (0..lists).map(|_| (0..n).map(|_| self.between(low, high)).collect()).collect()
    }
}

fn graphs() -> Vec<(&'static str, Graph)> {
    let node = |name: &str, parent, unless| Node { name: name.into(), label: name.into(), parent, unless };
    let graph = |nodes, outcomes| Graph::new("impression".into(), nodes, outcomes);
    vec![
        ("chain of two", graph(vec![node("click", None, None), node("purchase", Some(0), None)], vec![])),
        ("chain of three", graph(vec![node("click", None, None), node("cart", Some(0), None), node("purchase", Some(1), None)], vec![])),
        (
            "branches",
            graph(
                vec![
                    node("click", None, None),
                    node("cart", Some(0), None),
                    node("buy_after_cart", Some(1), None),
                    node("buy_direct", Some(0), Some(1)),
                ],
                vec![("purchase".into(), vec![2, 3])],
            ),
        ),
        (
            "branches of the row",
            graph(
                vec![node("call", None, None), node("visit", None, Some(0)), node("order", Some(1), None), node("like", None, None)],
                vec![("contact".into(), vec![0, 2])],
            ),
        ),
    ]
}

/// Rows whose labels follow the graph; `rate` is how often a stage that can be reached is.
fn rows(graph: &Graph, n: usize, weighted: bool, rate: f64, draw: &mut Draw) -> Rows {
    let (mut inside, mut reached) = (vec![vec![0.0; n]; graph.len()], vec![vec![0.0; n]; graph.targets.len()]);
    for i in 0..n {
        for (s, node) in graph.nodes.iter().enumerate() {
            let can = node.parent.is_none_or(|p| reached[p][i] == 1.0) && node.unless.is_none_or(|u| reached[u][i] == 0.0);
            inside[s][i] = f64::from(u8::from(can));
            reached[s][i] = f64::from(u8::from(can && draw.unit() < rate));
        }
        for t in graph.len()..graph.targets.len() {
            reached[t][i] = graph.targets[t].stages.iter().map(|s| reached[*s][i]).fold(0.0, f64::max);
        }
    }
    let target_weights = graph.targets.iter().map(|_| draw.between(0.5, 2.0)).collect();
    let weights = weighted.then(|| (0..n).map(|_| draw.between(0.1, 3.0)).collect());
    Rows { graph: graph.clone(), n, reached, inside, weights, target_weights, loss_weights: Vec::new(), noise: Noise(draw.0) }
}

fn objective(name: &str, settings: &str, graph: &Graph) -> anyhow::Result<Box<dyn Objective>> {
    let Build::Objective(objective) = find(Kind::Objective, name).unwrap().build else { panic!("{name}") };
    (objective.build)(&settings.parse().unwrap(), graph)
}

/// The tensors of a point, in f32, and what an objective makes of them.
struct Run {
    loss: Loss,
    logits: Vec<Tensor<Bk, 1>>,
    extra: Vec<Tensor<Bk, 1>>,
    parameters: Vec<Tensor<Bk, 1>>,
}
fn run(objective: &dyn Objective, rows: &Rows, at: &Point) -> Run {
    let device = Device::autodiff(cpu());
    #[allow(clippy::cast_possible_truncation)]
    let tensor = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        Tensor::<Bk, 1>::from_data(TensorData::new(values.clone(), [values.len()]), &device)
    };
    let leaves = |lists: &[Vec<f64>]| lists.iter().map(|v| tensor(v).require_grad()).collect::<Vec<_>>();
    let constants = |lists: &[Vec<f64>]| lists.iter().map(|v| tensor(v)).collect::<Vec<_>>();
    let (logits, extra) = (leaves(&at.z), leaves(&at.extra));
    let parameters: Vec<_> = at.s.iter().map(|s| tensor(&[*s]).require_grad()).collect();
    let loss = objective.loss(&Head {
        graph: &rows.graph,
        logits: &logits,
        extra: &extra,
        parameters: &parameters,
        reached: &constants(&rows.reached),
        in_space: &constants(&rows.inside),
        target_weights: &rows.target_weights,
        row_weights: rows.weights.as_ref().map(|w| tensor(w)).as_ref(),
        stage_weights: &rows.loss_weights.iter().map(|w| w.as_ref().map(|w| tensor(w))).collect::<Vec<_>>(),
        noise: rows.noise,
    });
    Run { loss, logits, extra, parameters }
}
impl Run {
    fn terms(&self) -> Vec<(String, f64)> {
        self.loss.terms.iter().map(|t| (t.name.clone(), f64::from(t.value.clone().into_scalar()))).collect()
    }
    fn reading(&self, name: &str) -> f64 {
        let found = self.loss.readings.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no reading `{name}`"));
        f64::from(found.value.clone().into_scalar())
    }
    /// By the logits, the extra heads' and the parameters.
    fn gradients(&self) -> [Vec<Vec<f64>>; 3] {
        let total = self.loss.terms.iter().map(|t| t.value.clone()).reduce(|a, b| a + b).unwrap();
        let grads = total.backward();
        [&self.logits, &self.extra, &self.parameters].map(|leaves| {
            let of = |leaf: &Tensor<Bk, 1>| match leaf.grad(&grads) {
                Some(g) => g.into_data().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
                None => vec![0.0; leaf.dims()[0]],
            };
            leaves.iter().map(of).collect()
        })
    }
}

/// The oracle's terms, weighted.
fn expected(lines: Vec<Line>, rows: &Rows, at: &Point, learned: bool) -> Vec<(String, f64)> {
    let mut s = at.s.iter();
    let term = |l: Line| {
        let value = match (learned && l.learnable).then(|| *s.next().unwrap()) {
            Some(s) => (-s).exp() * l.value + if l.has_rows { s / 2.0 } else { 0.0 },
            None => l.value,
        };
        (l.name, rows.target_weights[l.target] * l.factor * value)
    };
    lines.into_iter().map(term).collect()
}
fn close(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-5 + 1e-4 * expected.abs(), "{what}: {found} against {expected}");
}
fn point(objective: &dyn Objective, rows: &Rows, draw: &mut Draw) -> Point {
    let heads = objective.extra_heads(&rows.graph).len();
    Point {
        z: draw.many(rows.graph.len(), rows.n, -2.5, 2.5),
        extra: draw.many(heads, rows.n, -2.5, 2.5),
        s: objective.parameters(&rows.graph).iter().map(|_| draw.between(-1.0, 1.0)).collect(),
    }
}

fn agrees(name: &str, objective: &dyn Objective, oracle: Oracle, rows: &Rows, at: &Point, learned: bool) {
    let run = run(objective, rows, at);
    let terms = expected(oracle(rows, at, at, learned), rows, at, learned);
    assert_eq!(run.terms().iter().map(|t| &t.0).collect::<Vec<_>>(), terms.iter().map(|t| &t.0).collect::<Vec<_>>(), "{name}");
    for ((term, found), (_, expected)) in run.terms().iter().zip(&terms) {
        close(&format!("{name}: `{term}`"), *found, *expected);
    }
    let gradients = run.gradients();
    let total = |moved: &Point| expected(oracle(rows, moved, at, learned), rows, moved, learned).iter().map(|t| t.1).sum::<f64>();
    let slope = |at_value: &dyn Fn(&mut Point) -> &mut f64| {
        let mut moved = [at.clone(), at.clone()];
        *at_value(&mut moved[0]) += 1e-5;
        *at_value(&mut moved[1]) -= 1e-5;
        (total(&moved[0]) - total(&moved[1])) / 2e-5
    };
    let lists: [Lists; 2] = [|p| &mut p.z, |p| &mut p.extra];
    for ((list, found), what) in lists.into_iter().zip(&gradients).zip(["logit", "extra head"]) {
        for (k, found) in found.iter().enumerate() {
            for (i, found) in found.iter().enumerate() {
                close(&format!("{name}: gradient by {what} {k} of row {i}"), *found, slope(&|p| &mut list(p)[k][i]));
            }
        }
    }
    for (k, found) in gradients[2].iter().enumerate() {
        close(&format!("{name}: gradient by parameter {k}"), found[0], slope(&|p| &mut p.s[k]));
    }
}

#[test]
fn terms_and_gradients_are_those_of_the_formulas() {
    let mut draw = Draw(7);
    for (kind, settings, oracle) in CASES {
        for (shape, graph) in graphs() {
            for (weighted, learned) in [(false, false), (true, false), (true, true)] {
                let settings = format!("weighting = '{}'\n{settings}", if learned { "uncertainty" } else { "fixed" });
                let name = format!("{kind}, {settings}, {shape}, row weights {weighted}");
                let objective = objective(kind, &settings, &graph).unwrap();
                let rows = rows(&graph, 13, weighted, 0.6, &mut draw);
                let at = point(&*objective, &rows, &mut draw);
                assert_eq!(at.s.is_empty(), !learned, "{name}");
                agrees(&name, &*objective, oracle, &rows, &at, learned);
            }
        }
    }
}

#[test]
fn loss_weights_weigh_the_terms_of_their_stages() {
    let mut draw = Draw(17);
    for (kind, settings, oracle) in CASES {
        for (shape, graph) in graphs() {
            for (weighted, learned) in [(false, false), (true, true)] {
                let settings = format!("weighting = '{}'\n{settings}", if learned { "uncertainty" } else { "fixed" });
                let name = format!("{kind}, {settings}, {shape}, row weights {weighted}");
                let objective = objective(kind, &settings, &graph).unwrap();
                let mut rows = rows(&graph, 13, weighted, 0.6, &mut draw);
                // One stage alone, then every one that can be.
                for only in (0..graph.len()).map(Some).chain([None]) {
                    let has = |s: usize| only.is_none_or(|only| only == s) && objective.weighs(&graph, s);
                    rows.loss_weights = (0..graph.len()).map(|s| has(s).then(|| draw.many(1, rows.n, 0.0, 4.0).remove(0))).collect();
                    let can = match kind {
                        "conditional" => true,
                        "entire_space" => only.is_none_or(|s| graph.targets[graph.len()..].iter().all(|o| !o.stages.contains(&s))),
                        _ => false,
                    };
                    assert_eq!(rows.loss_weights.iter().any(Option::is_some), can, "{name}, {only:?}");
                    let at = point(&*objective, &rows, &mut draw);
                    agrees(&name, &*objective, oracle, &rows, &at, learned);
                }
            }
        }
    }
}

#[test]
fn a_batch_in_which_nothing_was_reached_is_no_trouble() {
    let mut draw = Draw(11);
    for (kind, settings, oracle) in CASES {
        for (shape, graph) in graphs() {
            for learned in [false, true] {
                let settings = format!("weighting = '{}'\n{settings}", if learned { "uncertainty" } else { "fixed" });
                let objective = objective(kind, &settings, &graph).unwrap();
                let rows = rows(&graph, 5, false, 0.0, &mut draw);
                let at = point(&*objective, &rows, &mut draw);
                agrees(&format!("{kind}, {settings}, {shape}"), &*objective, oracle, &rows, &at, learned);
                if kind == "conditional" && !settings.contains("outside_rate") && shape != "branches of the row" {
                    let terms = run(&*objective, &rows, &at).terms();
                    assert!(terms[1..].iter().all(|t| t.1 == 0.0), "{terms:?}");
                }
                let finite = run(&*objective, &rows, &at).loss.readings.iter().all(|r| r.value.clone().into_scalar().is_finite());
                assert!(finite, "{kind}");
            }
        }
    }
}

#[test]
fn extreme_logits_stay_finite() {
    let mut draw = Draw(13);
    for (kind, settings, _) in CASES {
        for (shape, graph) in graphs() {
            for weighting in ["fixed", "uncertainty"] {
                let name = format!("{kind}, {weighting}, {shape}");
                let objective = objective(kind, &format!("weighting = '{weighting}'\n{settings}"), &graph).unwrap();
                let stages = graph.len();
                // Every combination of signs, of stages and of extra heads, with labels of every kind.
                let n = 8 << (stages + 1);
                let rows = rows(&graph, n, false, 0.7, &mut draw);
                let sign = |bit: usize| move |i: usize| if (i >> bit) & 1 == 1 { 80.0 } else { -80.0 };
                let heads = objective.extra_heads(&graph).len();
                let at = Point {
                    z: (0..stages).map(|s| (0..n).map(sign(s)).collect()).collect(),
                    extra: (0..heads).map(|_| (0..n).map(sign(stages)).collect()).collect(),
                    s: vec![0.0; objective.parameters(&graph).len()],
                };
                finite(&name, &run(&*objective, &rows, &at));
                // Every prediction right, so that every loss is 0: nothing divides by it.
                let sure = |y: &Vec<f64>| y.iter().map(|y| 160.0 * y - 80.0).collect();
                let right = Point { z: rows.reached[..stages].iter().map(sure).collect(), ..at };
                finite(&name, &run(&*objective, &rows, &right));
            }
        }
    }
}
fn finite(name: &str, run: &Run) {
    for (term, value) in run.terms() {
        assert!(value.is_finite(), "{name}: `{term}` is {value}");
    }
    assert!(run.gradients().iter().flatten().flatten().all(|g| g.is_finite()), "{name}: gradient");
    assert!(run.loss.readings.iter().all(|r| r.value.clone().into_scalar().is_finite()), "{name}: readings");
}

#[test]
fn readings_are_those_of_the_weights() {
    let (_, graph) = graphs().swap_remove(2);
    let mut draw = Draw(17);
    let rows = rows(&graph, 200, true, 0.5, &mut draw);
    let all = [("conditional", ["ips"; 2]), ("escm2_ips", ["ips"; 2]), ("escm2_dr", ["dr"; 2]), ("dcmt", ["factual", "counterfactual"])];
    for (kind, names) in all {
        let more = if kind == "conditional" { "\ninverse_propensity = true" } else { "" };
        let objective = objective(kind, &format!("max_weight = 2.5{more}"), &graph).unwrap();
        let at = point(&*objective, &rows, &mut draw);
        let run = run(&*objective, &rows, &at);
        for stage in 1..graph.len() {
            for (name, inside) in names.into_iter().zip([1.0, 0.0]).take(if kind == "dcmt" { 2 } else { 1 }) {
                let space = (0..rows.n).filter(|i| rows.inside[stage][*i] == inside);
                let p = |i| (1.0 - inside - rows.propensity(&at, stage, i)).abs();
                let propensities: Vec<f64> = space.map(p).collect();
                let weights: Vec<f64> = propensities.iter().map(|p| (1.0 / p).min(2.5)).collect();
                let (n, sum) = (weights.len() as f64, weights.iter().sum::<f64>());
                let size = sum * sum / (n * weights.iter().map(|w| w * w).sum::<f64>());
                let clipped = propensities.iter().filter(|p| **p < 0.4).count() as f64 / n;
                let reading = |what: &str| run.reading(&format!("{}.{name}.{what}", graph.nodes[stage].name));
                close(&format!("{kind}: {name} size"), reading("effective_sample_size"), size);
                close(&format!("{kind}: {name} clipped"), reading("clipped"), clipped);
                assert!(clipped > 0.0 && size < 1.0, "{kind}: the case is too easy");
            }
        }
    }
    let objective = objective("nise", "alpha = 0.5\nbeta = 1e-3", &graph).unwrap();
    let at = point(&*objective, &rows, &mut draw);
    close("nise", run(&*objective, &rows, &at).reading("cart.nise.weight"), 0.5e-3);
}

#[test]
fn settings_out_of_range_are_refused() {
    let (_, graph) = graphs().swap_remove(0);
    let weights = ["max_weight = 0.9", "max_weight = inf", "min_propensity = 0", "min_propensity = 1.5", "min_propensity = nan"];
    let factors = ["counterfactual_weight = -0.1", "counterfactual_weight = inf", "global_weight = -1", "global_weight = nan"];
    for kind in ["escm2_ips", "escm2_dr", "dcmt"] {
        for bad in weights.into_iter().chain(if kind == "dcmt" { &["constraint_weight = -1"][..] } else { &factors }.iter().copied()) {
            let fault = objective(kind, bad, &graph).err().unwrap_or_else(|| panic!("{kind} takes {bad}"));
            assert!(format!("{fault:#}").contains("out of range"), "{kind}, {bad}: {fault:#}");
        }
        objective(kind, "max_weight = 1\nmin_propensity = 1", &graph).unwrap();
    }
    let counts = ["outside_rate = -0.1", "outside_rate = 1.1", "positive_copies = 0", "positive_copies = inf", "max_weight = 0.5"];
    for bad in counts.into_iter().chain(["inverse_propensity = true\noutside_rate = 0.1"]) {
        assert!(objective("conditional", bad, &graph).is_err(), "{bad}");
    }
    for bad in ["alpha = -1", "beta = -0.5", "beta = inf"] {
        assert!(objective("nise", bad, &graph).is_err(), "{bad}");
    }
    for (kind, _, _) in CASES {
        assert!(objective(kind, "weighting = 'learnt'", &graph).is_err(), "{kind}");
        assert!(objective(kind, "lambda = 1", &graph).is_err(), "{kind}");
    }
}

#[test]
fn every_term_is_described_in_order() {
    for (kind, settings, _) in CASES {
        for (shape, graph) in graphs() {
            for weighting in ["fixed", "uncertainty"] {
                let objective = objective(kind, &format!("weighting = '{weighting}'\n{settings}"), &graph).unwrap();
                let rows = rows(&graph, 3, false, 0.5, &mut Draw(1));
                let terms = run(&*objective, &rows, &point(&*objective, &rows, &mut Draw(2))).terms();
                let words = objective.describe(&graph);
                let targets: Vec<&str> = words.iter().map(|w| w.target.as_str()).collect();
                assert_eq!(targets, terms.iter().map(|t| t.0.split('.').next().unwrap()).collect::<Vec<_>>(), "{kind}, {shape}");
            }
        }
    }
}

#[test]
fn terms_read_as_equations() {
    let (_, graph) = graphs().swap_remove(2);
    let equation =
        |kind: &str, settings: &str, n: usize| objective(kind, settings, &graph).unwrap().describe(&graph).swap_remove(n).equation;
    assert_eq!(
        equation("conditional", "", 3),
        "−mean[ buy_direct·ln σ(z_buy_direct) + (1 − buy_direct)·ln σ(−z_buy_direct) ] over rows where click = 1 and not cart"
    );
    assert_eq!(
        equation("conditional", "outside_rate = 0.2\npositive_copies = 3", 1),
        "−Σ c·[ cart·ln σ(z_cart) + (1 − cart)·ln σ(−z_cart) ] / Σ c\nc = 1·(3 where cart = 1) on rows where click = 1, 1 on 20 % of the \
         other rows, where cart counts as 0"
    );
    assert!(
        equation("conditional", "inverse_propensity = true\nmax_weight = 100", 1)
            .ends_with("c = 1/ô on rows where click = 1\nô = max( σ(z_click), 1/100 ), a constant to the gradient")
    );
    // Children of the row have every row as their space: nothing to change.
    assert_eq!(equation("conditional", "positive_copies = 3", 0), equation("conditional", "", 0));
    assert_eq!(
        equation("escm2_ips", "", 5).split('\n').collect::<Vec<_>>(),
        [
            "0.1·mean[ o·e/ô ]",
            "o = 1 on rows where click = 1 and not cart, else 0",
            "e = −[ buy_direct·ln σ(z_buy_direct) + (1 − buy_direct)·ln σ(−z_buy_direct) ]",
            "ô = max( σ(z_click)·(1 − σ(z_cart)), 1/15 ), a constant to the gradient",
        ]
    );
    let routed = equation("escm2_dr", "routing = 'separate'", 3);
    assert!(routed.starts_with("0.1·mean[ ê + o·(e − ê)/ô ]\n"), "{routed}");
    assert!(routed.contains("\nê = ln(1 + exp(z_cart_imputation)), a constant to the gradient\n"), "{routed}");
    assert!(equation("dcmt", "min_propensity = 0.2", 3).ends_with("ô* = max( 1 − σ(z_click), 0.2 ), a constant to the gradient"));
    assert!(equation("nise", "", 1).starts_with("γ·L\nγ = 1·min( L_click/L, 50 ), a constant to the gradient\nL = mean[ o·e"));
    assert_eq!(
        equation("entire_space", "weighting = 'uncertainty'", 0),
        "exp(−s)·( −mean[ click·ln P(click) + (1 − click)·ln(1 − P(click)) ] ) + s/2"
    );
}

#[test]
fn rows_are_drawn_at_their_rate_and_a_higher_rate_adds_to_them() {
    let n = 20_000;
    for stream in 0..3 {
        let drawn = |rate: f64, noise: u64| (0..n).map(|i| Noise(noise).draws(stream, i, rate)).collect::<Vec<_>>();
        let share = |drawn: &[bool]| drawn.iter().filter(|d| **d).count() as f64 / n as f64;
        for rate in [0.1, 0.5, 0.9] {
            assert!((share(&drawn(rate, 5)) - rate).abs() < 0.015, "{rate}");
            assert!(drawn(rate, 5).iter().zip(drawn(rate + 0.05, 5)).all(|(less, more)| more || !less));
            let both: Vec<bool> = drawn(rate, 5).iter().zip(drawn(rate, 6)).map(|(a, b)| *a && b).collect();
            assert!((share(&both) - rate * rate).abs() < 0.015, "steps are independent");
        }
        assert_eq!([share(&drawn(0.0, 1)), share(&drawn(1.0, 1))], [0.0, 1.0]);
    }
}

#[test]
fn only_the_loss_of_full_space_probabilities_fits_quotients() {
    let (_, graph) = graphs().swap_remove(0);
    for (kind, settings, _) in CASES {
        assert_eq!(objective(kind, settings, &graph).unwrap().is_full_space(), kind == "entire_space", "{kind}");
    }
}
