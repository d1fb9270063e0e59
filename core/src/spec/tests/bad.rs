//! What bad specs say.

use super::super::twice_registered;
use super::{FUNNEL, bad, count, good, says};
use crate::plugin::registry::{self, Kind};

const DATA: &str = "[data]\nsource = { kind = \"csv\", files = [\"log.csv\"] }\n";

#[test]
fn broken_toml() {
    let text = bad("[funnel\nchain = 1\nx = = 2\n");
    says(&text, &["error: not valid TOML: unclosed table", "--> funnels/ctr_cvr.toml:1:8", "error: not valid TOML: extra `=`", ":3:5"]);
    says(&bad("a = 1\na = 2\n"), &["error: not valid TOML: duplicate key", ":2:1", "help: a key may be stated once"]);
}

#[test]
fn nothing_there() {
    let text = bad("");
    says(
        &text,
        &["error: the spec has no data source", "= help: add `[data]` with `source = { kind = \"csv\"", "sources in this build: {sources}"],
    );
    says(&text, &["error: the funnel has no stages", "= help: add `chain = \"impression -> click -> purchase\"`"]);
    says(&bad(&format!("[funnel]\nname = \"x\"\n{DATA}")), &["the funnel has no stages", ":1:2", "^^^^^^ declares none"]);
    says(
        &bad("[funnel]\nchain = \"a -> b\"\n[data]\nkeys = []\n"),
        &["error: `[data]` has no `source`", ":3:2", "where do rows come from?"],
    );
}

#[test]
fn unknown_keys_in_every_section() {
    let text = bad(&format!(
        "{FUNNEL}[stages.click]\n[train]\nbach_rows = 1\n[split]\nshare = 1\n[metrics]\nbins = 1\n[embedding]\ndims = 4\n[entity.user]\nkey = \"u\"\n\
         kex = 1\n[feature.a]\nkind = \"id\"\ncolumn = \"x\"\n[outcome.o]\nany = []\n[stage.click]\nafter_ = 1\n[defaults]\ntowers = 1\n[funnel.x]\n"
    ));
    for (place, parts) in [
        ("5:2", ["unknown key `stages` in a spec", "did you mean `stage`?"]),
        ("7:1", ["unknown key `bach_rows` in `[train]`", "did you mean `batch_rows`?"]),
        ("9:1", ["unknown key `share` in `[split]`", "keys of `[split]`: kind, valid, test, seed"]),
        ("11:1", ["unknown key `bins` in `[metrics]`", "keys of `[metrics]`: gauc_by, slices, ece_bins, batch_auc"]),
        ("13:1", ["unknown key `dims` in `[embedding]`", "did you mean `dim`?"]),
        ("16:1", ["unknown key `kex` in `[entity.user]`", "did you mean `key`?"]),
        ("19:1", ["unknown key `column` in `[feature.a]`", "did you mean `columns`?"]),
        ("21:1", ["unknown key `any` in `[outcome.o]`", "keys of `[outcome.o]`: any_of, weight"]),
        ("23:1", ["unknown key `after_` in `[stage.click]`", "did you mean `after`?"]),
        ("25:1", ["unknown key `towers` in `[defaults]`", "did you mean `tower`?"]),
        ("26:9", ["unknown key `x` in `[funnel]`", "keys of `[funnel]`: name, row, chain"]),
    ] {
        says(&text, &[parts[0], &format!("--> funnels/ctr_cvr.toml:{place}"), parts[1]]);
    }
    says(&text, &["`[outcome.o]` has no `any_of`", ":20:10"]);
    assert_eq!(count(&text), 12, "{text}");
}

#[test]
fn wrong_types_all_at_once() {
    let text = bad(&format!(
        "features = \"all\"\n{FUNNEL}orphan_labels = \"drop\"\nkeys = \"a\"\n[train]\nepochs = 0\nclip_norm = \"x\"\noptimizer = {{ kind = \"adam\", lr = \"x\", beta1 = \"x\", foo = 1 }}\n\
         [embedding]\ndim = 1.5\noptimizer = {{ lr = 1 }}\n[stage.click]\nlabel = 3\nfeatures = {{ witout = [\"x\"] }}\ninit_bias = \"base\"\nafter = 3\n[metrics]\nslices = [1]\n"
    ));
    for parts in [
        ["features: expected \"infer\", found string \"all\"", ":1:12", "^^^^^", "takes every column but labels"],
        ["data.orphan_labels: unknown value `drop`, expected one of `error`", ":6:17", "^^^^^^", "explain data.orphan_labels"],
        ["data.keys: expected an array, found string \"a\"", ":7:8", "^^^", "explain data.keys"],
        ["train.epochs: expected a whole number, 1 or more, found number `0`", ":9:10", "^", "explain train.epochs"],
        ["train.clip_norm: expected a number, found string \"x\"", ":10:13", "^^^", "explain train.clip_norm"],
        ["train.optimizer.lr: expected a number, found string \"x\"", ":11:35", "^^^", "explain train.optimizer.lr"],
        ["train.optimizer.beta1: expected a number", ":11:48", "^^^", "explain train.optimizer.beta1"],
        ["unknown key `foo` in `[train.optimizer]`", ":11:53", "^^^", "kind, lr, beta1, beta2, eps, l2"],
        ["embedding.dim: expected a whole number, 1 or more, found number `1.5`", ":13:7", "^^^", "explain embedding.dim"],
        ["embedding.optimizer: no `kind`", ":14:13", "^^^^^^^^^^ which optimizer?", "add `kind = \"adam\"`"],
        ["stage.click.label: expected a string, found number `3`", ":16:9", "^", "explain stage.label"],
        ["stage.click.features: unknown field `witout`, expected `without`", ":17:14", "^^^^^^", "did you mean `without`?"],
        ["stage.click.init_bias: expected a number or \"base_rate\"", ":18:13", "^^^^^^", "explain stage.init_bias"],
        ["stage.click.after: expected the name of a stage, found number `3`", ":19:9", "^", "unless = \"cart\""],
        ["metrics.slices: expected a string, found number `1`", ":21:11", "^", "explain metrics.slices"],
    ] {
        says(&text, &parts);
    }
    assert_eq!(count(&text), 15, "{text}");
    says(
        &bad(&format!("train = 3\nstage = 1\n{FUNNEL}")),
        &["error: train: expected a table, found number `3`", "error: stage: expected a table"],
    );
    says(&bad(&format!("{FUNNEL}[stage]\nclick = 3\n")), &["stage.click: expected a table, found number `3`", "`click = false` to remove"]);
    says(
        &bad(&format!("{FUNNEL}[features.user]\nkind = \"id\"\n")),
        &["features: expected \"infer\", found a table", "did you mean `[feature.user]`?"],
    );
}

#[test]
fn unknown_plugins_and_kinds() {
    let text = bad(
        "encoder = \"concatt\"\nobjective = { kind = \"mlp\" }\n[funnel]\nchain = \"impression -> click -> x\"\n[stage.click]\n\
         tower = { kind = \"mpl\", hidden = [256, 128] }\n[stage.x]\ntower = 3\n[data]\nsource = { files = [] }\n[split]\nkind = \"grup\"\n[train]\noptimizer = \"adm\"\n",
    );
    let tower = "error: unknown tower `mpl` in stage `click`
  --> funnels/ctr_cvr.toml:6:18
   |
 6 | tower = { kind = \"mpl\", hidden = [256, 128] }
   |                  ^^^^^ no plugin registered under this name
   |
   = help: did you mean `mlp`?
   = help: towers in this build: {towers}
";
    says(&text.replace("\n  |", "\n   |").replace("\n  =", "\n   =").replace("\n --", "\n  --").replace("\n6 |", "\n 6 |"), &[tower]);
    says(&text, &["unknown encoder `concatt`", ":1:11", "did you mean `concat`?", "encoders in this build: {encoders}"]);
    says(&text, &["unknown objective `mlp`", "`mlp` is a plugin of another kind: tower", "objectives in this build: {objectives}"]);
    says(&text, &["stage.x.tower: expected the name of a tower or a table, found number `3`", ":8:9", "write `{ kind = \"mlp\" }`"]);
    says(&text, &["data.source: no `kind`", ":10:10", "which source?", "add `kind = \"csv\"`"]);
    says(&text, &["unknown split `grup`", ":12:8", "did you mean `group`?", "kinds of split: random, group, column, files"]);
    says(&text, &["unknown optimizer `adm`", ":14:13", "did you mean `adam`?"]);
    assert_eq!(count(&text), 7, "{text}");
}

#[test]
fn plugin_settings_are_checked_by_the_plugin() {
    let text = bad(&format!(
        "{FUNNEL}delimitr = 1\n[stage.purchase.tower]\nkind = \"mlp\"\nhiden = [3]\ndropout = \"x\"\nhidden = [1, 0, 3]\nactivation = \"rellu\"\n[objective]\nweight = 1\n"
    ));
    let hiden = "error: stage.purchase.tower: unknown field `hiden`, expected one of `hidden`, `dropout`, `activation`
 --> funnels/ctr_cvr.toml:8:1
  |
7 | kind = \"mlp\"
  |        ----- tower chosen here
8 | hiden = [3]
  | ^^^^^
  |
  = help: did you mean `hidden`?
  = help: run `esmm-funnel explain tower mlp` for every setting and its default
";
    says(&text.replace("\n  --> ", "\n --> "), &[hiden]);
    says(&text, &["stage.purchase.tower.dropout: expected a number, found string \"x\"", ":9:11"]);
    says(&text, &["stage.purchase.tower.hidden: expected a whole number, 1 or more, found number `0`", ":10:14", "^"]);
    says(&text, &["stage.purchase.tower.activation: unknown value `rellu`", ":11:14", "did you mean `relu`?"]);
    says(&text, &["objective: unknown field `weight`", ":13:1", "explain objective entire_space"]);
    assert_eq!(count(&text), 6, "{text}");
    let twice = bad(&format!("{FUNNEL}[defaults]\ntower = {{ kind = \"mlp\", x = 1 }}\n[stage.click.tower]\ndropout = 0.5\n"));
    says(&twice, &["error: defaults.tower: unknown field `x`", ":6:25"]);
    assert_eq!(count(&twice), 1, "a fault of the default is shown once: {twice}");
}

#[test]
fn chains() {
    let chain = |text: &str| bad(&format!("[funnel]\nchain = \"{text}\"\n{DATA}"));
    says(&chain("a -> -> c"), &["a name is missing in the chain", ":2:15", "help: a chain is names with arrows"]);
    says(&chain("a -> b c"), &["`b c` is no name for a stage", ":2:15", "^^^"]);
    says(&chain("a -> b -> a"), &["`a` stands twice in the chain", ":2:20"]);
    says(&chain("a"), &["a chain of one name has no stage"]);
    let text = bad(&format!("{}[stage.puchase]\nlabel = \"b\"\n", FUNNEL.replacen("]\n", "]\nrow = \"view\"\n", 1)));
    says(&text, &["the chain starts with `impression`, but `row` is `view`", ":3:10", "leave `row` out"]);
    says(&text, &["stage `puchase` is not in the chain and has no `after`", ":6:8", "did you mean `[stage.purchase]`?"]);
    assert_eq!(count(&text), 2, "{text}");
}

#[test]
fn the_graph() {
    let text = bad(&format!(
        "[funnel]\nrow = \"imp\"\n[stage.a]\nafter = \"b\"\n[stage.b]\nafter = \"a\"\n[stage.c]\nafter = \"c\"\n[stage.d]\nafter = \"imq\"\n[stage.e]\n\
         [stage.imp]\nafter = \"a\"\n[stage.f]\nafter = {{ stage = \"a\", unless = \"a\" }}\n[stage.g]\nafter = {{ stage = \"a\", unless = \"d\" }}\n[stage.h]\n\
         after = {{ stage = \"imp\", unles = \"b\" }}\n[stage.\"i j\"]\nafter = \"imp\"\n{DATA}"
    ));
    says(
        &text,
        &["stages come after each other in a circle: `a` after `b` after `a`", ":4:9", "^^^ closes the circle", "---", "after = \"imp\""],
    );
    says(&text, &["stage `c` comes after itself", ":8:9", "^^^"]);
    says(
        &text,
        &["stage `d` comes after an unknown stage `imq`", ":10:9", "no `[stage.imq]` table", "did you mean `imp`?", "the row: imp"],
    );
    says(&text, &["stage `e` has no `after`", ":11:8", "what does it come after?"]);
    says(&text, &["stage `imp` has the name of the row", ":12:8"]);
    says(&text, &["stage `f` comes after `a` unless `a`: never", ":15:33"]);
    says(&text, &["stage `g`: `unless = \"d\"` is no sibling", ":17:33"]);
    says(&text, &["unknown key `unles` in `[stage.h.after]`", ":19:26", "did you mean `unless`?"]);
    says(&text, &["`i j` is no name for a stage", ":20:8"]);
    assert_eq!(count(&text), 9, "{text}");
    let mutual =
        "[stage.a]\nafter = { stage = \"impression\", unless = \"b\" }\n[stage.b]\nafter = { stage = \"impression\", unless = \"a\" }\n";
    says(&bad(&format!("{mutual}{DATA}")), &["in a circle: `a` after `b` after `a`", ":2:42"]);
}

#[test]
fn longer_circles_and_what_hangs_on_them() {
    let text = bad(&format!(
        "[stage.a]\nafter = \"c\"\n[stage.b]\nafter = \"a\"\n[stage.c]\nafter = \"b\"\n[stage.d]\nafter = \"c\"\n[stage.e]\nafter = \"impression\"\n{DATA}"
    ));
    // Nobody can reach `d`; that is the circle's fault, and told once.
    says(&text, &["in a circle: `a` after `c` after `b` after `a`", ":2:9", "^^^ closes the circle", "---", "after = \"impression\""]);
    assert_eq!(count(&text), 1, "{text}");
}

#[test]
fn two_roots() {
    let text = bad(&format!("[stage.click]\nafter = \"impression\"\n[stage.visit]\nafter = \"mail\"\n{DATA}"));
    says(&text, &["stage `visit` comes after an unknown stage `mail`", ":4:9", "^^^^^^ no `[stage.mail]` table", "the row: impression"]);
    assert_eq!(count(&text), 1, "{text}");
    let text = bad(&format!("[stage.click]\n[stage.visit]\n{DATA}"));
    says(&text, &["stage `click` has no `after`", ":1:8", "^^^^^", "stage `visit` has no `after`", ":2:8", "name of the row"]);
    assert_eq!(count(&text), 2, "{text}");
}

#[test]
fn a_complement_has_one_meaning() {
    let text = bad(&format!(
        "[stage.a]\nafter = \"impression\"\n[stage.b]\nafter = {{ stage = \"impression\", unless = \"a\" }}\n\
         [stage.c]\nafter = {{ stage = \"impression\", unless = \"b\" }}\n{DATA}"
    ));
    says(&text, &["error: stage `c`: `unless = \"b\"` names a stage that has an `unless` itself", ":6:42"]);
    says(&text, &["--- `b` is for rows without `a`", "^^^ with or without `a`?"]);
    says(&text, &["for every row without `a`: `after = { stage = \"impression\", unless = \"a\" }`"]);
    says(&text, &["for rows with neither: declare those without `a` as a stage", "let `b` come after it, and `c` after it unless `b`"]);
    assert_eq!(count(&text), 1, "{text}");
    // Neither, as the help has it; and two branches beside one stage.
    good(&format!(
        "[stage.a]\nafter = \"impression\"\n[stage.rest]\nafter = {{ stage = \"impression\", unless = \"a\" }}\n[stage.b]\nafter = \"rest\"\n\
         [stage.c]\nafter = {{ stage = \"rest\", unless = \"b\" }}\n[stage.d]\nafter = {{ stage = \"impression\", unless = \"a\" }}\n{DATA}"
    ));
}

#[test]
fn quotients_are_for_plain_stages() {
    let funnel = "[funnel]\nrow = \"r\"\ncomposition = \"quotient\"\n[stage.a]\nafter = \"r\"\n[stage.b]\nafter = \"a\"\n";
    let more = "[stage.c]\nafter = { stage = \"a\", unless = \"b\" }\n[outcome.o]\nany_of = [\"b\", \"c\"]\n";
    let text = bad(&format!("{funnel}{more}{DATA}"));
    says(&text, &["stage `c` has an `unless`", ":9:9", "quotients", "take `composition = \"product\"`", "`o` is an outcome", ":10:10"]);
    says(&bad(&format!("[funnel]\nchain = \"a -> b\"\ncomposition = \"ratio\"\n{DATA}")), &["ratio", ":3:15"]);
}

#[test]
fn names_that_the_outputs_take() {
    let chain = bad(&format!("[funnel]\nchain = \"impression -> slices\"\n{DATA}"));
    says(&chain, &["stage `slices` has the name of a key of `metrics.json`", ":2:", "rename the stage; `label` may still be `slices`"]);
    let text = bad(&format!("[stage.slices]\nafter = \"impression\"\n[outcome.slices]\nany_of = [\"slices\"]\n{DATA}"));
    says(&text, &["stage `slices` has the name of a key of `metrics.json`", ":1:8", "^^^^^^ taken by the metrics"]);
    says(&text, &["outcome `slices` has the name of a key", ":3:10"]);
    let text = bad(&format!("[stage.a]\nafter = \"impression\"\n[stage.a_given_impression]\nafter = \"a\"\n{DATA}"));
    says(
        &text,
        &[
            "stage `a_given_impression` and stage `a` both become column `p_a_given_impression`",
            ":3:8",
            "- its conditional",
            "^^^ its full-space",
        ],
    );
    assert_eq!(count(&text), 1, "{text}");
    good(&format!("[stage.cut]\nafter = \"impression\"\nlabel = \"slices\"\n{DATA}"));
}

#[test]
fn labels_and_outcomes() {
    let two = format!(
        "[stage.a]\nafter = \"impression\"\n[stage.b]\nafter = \"a\"\nlabel = \"x\"\n[stage.c]\nafter = \"a\"\nlabel = \"x\"\n{DATA}"
    );
    let text = bad(&two);
    says(&text, &["stages `b` and `c` have one label, `x`, and no outcome covers them", ":5:9", "^^^", "--- the same label"]);
    says(&text, &["say that they are ways to one outcome: `[outcome.x]` with `any_of = [\"b\", \"c\"]`"]);
    let text = bad(&format!(
        "{two}[outcome.x]\nany_of = [\"b\", \"c\", \"cc\", \"b\"]\n[outcome.a]\nany_of = []\n[outcome.impression]\nany_of = [\"a\"]\n"
    ));
    says(&text, &["outcome `x`: a row can reach both `b` and `c`", ":12:16", "^^^", "must exclude each other", "unless = \"b\""]);
    says(&text, &["outcome `x` sums over an unknown stage `cc`", ":12:21", "did you mean `c`?"]);
    says(&text, &["outcome `x` names `b` twice", ":12:27"]);
    says(&text, &["outcome `a` has the name of a stage", ":13:10", "^ an outcome"]);
    says(&text, &["outcome `a` sums over no stage", ":14:10"]);
    says(&text, &["outcome `impression` has the name of the row", ":15:10"]);
    assert_eq!(count(&text), 6, "{text}");
    says(
        &bad(&format!("{two}[outcome.x]\nany_of = [\"b\"]\n")),
        &["no outcome covers them", "add the others to `[outcome.x]`: `any_of = [\"b\", \"c\"]`"],
    );
}

#[test]
fn columns_have_one_role() {
    let text = bad(&format!(
        "{FUNNEL}keys = [\"id\", \"click\"]\nweight = \"purchase\"\n[split]\nkind = \"group\"\ncolumn = \"click\"\n[feature.purchase]\nkind = \"number\"\n\
         [feature.f]\nkind = \"bag\"\ncolumns = [\"cli*\", \"x\", \"click\"]\nweights = \"purchase\"\n[entity.e]\nkey = \"click\"\n[feature.g]\nkind = \"id\"\ncolumns = [\"x\"]\nof = \"ee\"\n"
    ));
    says(&text, &["column `click` is the label of stage `click` and a key", ":5:15", "named as a key here"]);
    says(&text, &["column `purchase` is the label of stage `purchase` and the row weight", ":6:10"]);
    says(&text, &["column `click` is the label of stage `click` and the split's column", ":9:10"]);
    says(&text, &["column `purchase` is the label of stage `purchase` and a feature", ":10:10", "gives the answer away"]);
    says(&text, &["column `click` is the label of stage `click` and a feature", ":14:25"]);
    says(&text, &["column `purchase` is the label of stage `purchase` and the weights of a feature", ":15:11"]);
    says(&text, &["column `click` is the label of stage `click` and the key of an entity", ":17:7"]);
    says(&text, &["column `x` is in feature `f` and in feature `g`", ":20:12", "claimed here first"]);
    says(&text, &["feature `g` is of an unknown entity `ee`", ":21:6", "no `[entity.ee]` table", "did you mean `e`?"]);
    assert_eq!(count(&text), 9, "{text}");
}

#[test]
fn times() {
    let text = bad(&format!(
        "{FUNNEL}[feature.t]\nkind = \"time\"\nmin_count = 3\nweights = \"w\"\nshare_with = \"x\"\nparts = [\"hour\", \"day\", \"hour\"]\n\
         [feature.i]\nkind = \"id\"\nunit = \"seconds\"\nshare_with = \"t\"\n[feature.z]\nkind = \"time\"\ntimezone = \"Europe/Berlin\"\n\
         [feature.e]\nkind = \"time\"\nparts = []\n[feature.y]\nkind = \"time\"\nparts = [\"year\"]\nunit = \"hours\"\n"
    ));
    says(&text, &["feature `t`: `min_count` is no setting of kind `time`", ":7:1", "`kind = \"id\"` and `kind = \"bag\"`"]);
    says(&text, &["feature `t`: `weights` is no setting of kind `time`", ":8:1"]);
    says(&text, &["feature `t`: `share_with` is no setting of kind `time`", ":9:1"]);
    says(&text, &["feature `t`: name one or more parts of the time, each once", ":10:9"]);
    says(&text, &["feature `i`: `unit` is no setting of kind `id`", ":13:1", "`unit` belongs to `kind = \"time\"`"]);
    says(&text, &["feature `i` shares the table of `t`, a time", ":14:14", "times have no table of ids"]);
    says(&text, &["feature.z.timezone: expected \"UTC\" or a fixed offset from it like \"+02:00\", found \"Europe/Berlin\"", ":17:12"]);
    says(&text, &["feature `e`: name one or more parts of the time, each once", ":20:9", "parts = [\"hour\", \"weekday\"]"]);
    says(&text, &["feature.y.parts: unknown value `year`, expected one of `minute`, `hour`", ":23:10"]);
    says(&text, &["feature.y.unit: unknown value `hours`, expected one of `seconds`, `milliseconds`", ":24:8"]);
    assert_eq!(count(&text), 10, "{text}");
    let part = "[feature.when]\nkind = \"time\"\ncolumns = [\"at\", \"t_*\"]\n[stage.click.features]\nwithout =";
    for name in ["when", "at:hour", "t_x:weekday"] {
        good(&format!("{FUNNEL}{part} [\"{name}\"]\n"));
    }
    for name in ["at", "at:day"] {
        says(&bad(&format!("{FUNNEL}{part} [\"{name}\"]\n")), &[&format!("stage `click` is without `{name}`, which is no feature")]);
    }
}

#[test]
fn sequences() {
    let text = bad(&format!(
        "{FUNNEL}[feature.s]\nkind = \"sequence\"\nweights = \"w\"\n[feature.p]\nkind = \"number\"\n[feature.q]\nkind = \"sequence\"\n\
         attend_to = \"p\"\nkeep_last = 0\n[feature.r]\nkind = \"sequence\"\nattend_to = \"p\"\n[feature.b]\nkind = \"bag\"\nattend_to = \"i\"\n"
    ));
    says(&text, &["feature `s`: a sequence needs `attend_to`", ":6:8", "attend_to = \"item_id\"", "it is a `bag`"]);
    says(&text, &["feature `s`: `weights` is no setting of kind `sequence`", ":7:1", "`kind = \"bag\"`"]);
    says(&text, &["feature.q.keep_last", ":13:13"]);
    says(&text, &["feature `r` attends to `p`, which holds no single ids", ":16:13", "`p` is declared here", "`kind = \"id\"`"]);
    says(&text, &["feature `b`: `attend_to` is no setting of kind `bag`", ":19:1", "`kind = \"sequence\"`"]);
    good(&format!("{FUNNEL}[feature.i]\nkind = \"id\"\n[feature.s]\nkind = \"sequence\"\nattend_to = \"i\"\nkeep_last = 50\n"));
}

#[test]
fn features() {
    let text = bad(&format!(
        "{FUNNEL}[feature.n]\nkind = \"number\"\npooling = \"sum\"\nmin_count = 3\ntransform = {{ bucketize = {{ edges = [1, 1, 0.5] }} }}\n\
         [feature.i]\nkind = \"id\"\ntransform = \"none\"\nvocabulary = \"hashed\"\n[feature.h]\nkind = \"id\"\nhash_rows = 4\nshare_with = \"b\"\n\
         [feature.b]\nkind = \"bag\"\nshare_with = \"h\"\ncolumns = [\"b\"]\n[feature.s]\nkind = \"id\"\nshare_with = \"s\"\n[feature.k]\n\
         [stage.click.features]\nwithout = [\"nn\"]\n[feature.e]\nkind = \"id\"\ncolumns = []\n"
    ));
    says(&text, &["feature `n`: `pooling` is no setting of kind `number`", ":7:1", "`pooling` belongs to `kind = \"bag\"`"]);
    says(&text, &["feature `n`: `min_count` is no setting of kind `number`", ":8:1", "`kind = \"id\"` and `kind = \"bag\"`"]);
    says(&text, &["feature.n.transform.bucketize.edges: edges must ascend, but 1 follows 1", ":9:41"]);
    says(&text, &["edges must ascend, but 0.5 follows 1", ":9:44"]);
    says(&text, &["feature `i`: `transform` is no setting of kind `id`", ":12:1"]);
    says(&text, &["feature `i`: vocabulary `hashed` needs `hash_rows`", ":13:14", "hash_rows = 1_000_000"]);
    says(&text, &["feature `h`: `hash_rows` is for vocabulary `hashed`", ":16:1"]);
    says(&text, &["features share tables in a circle: `h` → `b` → `h`", ":17:14"]);
    says(&text, &["feature `s` shares the table of itself", ":24:14"]);
    says(&text, &["`[feature.k]` has no `kind`", ":25:10", "explain feature"]);
    says(&text, &["stage `click` is without `nn`, which is no feature", ":27:12", "did you mean `n`?"]);
    says(&text, &["feature `e` has no columns", ":30:11"]);
    assert_eq!(count(&text), 12, "{text}");
}

#[test]
fn ranges() {
    let text = bad(&format!(
        "{FUNNEL}[split]\nvalid = 0.5\ntest = 0.5\n[embedding]\noov_rate = 1\ninit_std = -1\noptimizer = {{ kind = \"adagrad\", lr = 0, initial_accumulator = -1 }}\n\
         [train]\noptimizer = {{ kind = \"adam\", beta1 = 1.0, beta2 = -0.1, l2 = -1e-3, eps = 0 }}\nclip_norm = inf\nfinal_lr_fraction = 2\n[stage.click]\nweight = -1\ninit_bias = nan\n"
    ));
    says(&text, &["split: `valid` 0.5 and `test` 0.5 leave no row for training", ":7:8", "must stay below 1"]);
    says(&text, &["embedding.oov_rate: expected a number from 0 to 1, 1 not included, found `1`", ":9:12", "^"]);
    says(&text, &["embedding.init_std: expected a number of at least 0", "embedding.optimizer.lr: expected a number above 0", ":11:38"]);
    says(&text, &["embedding.optimizer.initial_accumulator: expected"]);
    says(
        &text,
        &[
            "train.optimizer.beta1",
            "train.optimizer.beta2",
            "train.optimizer.l2",
            "train.optimizer.eps",
            "train.clip_norm",
            "train.final_lr_fraction",
        ],
    );
    says(&text, &["stage.click.weight: expected a number of at least 0, found `-1`", "stage.click.init_bias: expected a finite number"]);
    assert_eq!(count(&text), 13, "{text}");
    let column = |bounds: &str| format!("{FUNNEL}[split]\nkind = \"column\"\ncolumn = \"d\"\n{bounds}");
    let text = bad(&column("train_through = 2024-05-30\nvalid_through = 2024-05-29\ntest_from = 2024-05-29\n"));
    says(
        &text,
        &[
            "split: `valid_through` does not come after `train_through`",
            ":9:17",
            "split: `test_from` does not come after `valid_through`",
            ":10:13",
        ],
    );
    good(&column("train_through = \"a\"\nvalid_through = 3\n"));
    says(&bad(&column("train_through = true\n")), &["split.train_through: expected a number, a date or a string", ":8:17"]);
    says(&bad(&column("train_through = 3\n")), &["`[split]` has no `valid_through`", ":5:2"]);
    says(
        &bad(&column("train_through = nan\nvalid_through = 3\n")),
        &["split.train_through: expected a finite number, found `NaN`", ":8:17"],
    );
    let text = bad(&format!("{FUNNEL}[split]\nvalid = 0\n[train]\npatience_evals = 2\n"));
    says(&text, &["early stopping needs rows in valid", ":8:18", "- no rows"]);
    let files = bad(&format!("{FUNNEL}[split]\nkind = \"files\"\nvalid = [\"a\"]\ntest = [\"./a\"]\n"));
    says(&files, &["split: `/base/funnels/a` is in valid and in test", ":8:9"]);
}

#[test]
fn shuffle_by() {
    let text = bad(&format!("{FUNNEL}[entity.user]\nkey = \"user_id\"\n[train]\nshuffle_by = \"usr\"\n"));
    says(&text, &["train.shuffle_by: there is no entity `usr`", ":8:14", "did you mean `user`?", "entities: user"]);
}
#[test]
fn monitor() {
    let monitor = |text: &str| bad(&format!("{FUNNEL}[train]\nmonitor = \"{text}\"\n"));
    says(
        &monitor("auc"),
        &["train.monitor: `auc` is not `<stage or outcome>.<space>.<metric>`", ":6:11", "write `monitor = \"purchase.full.auc\"`"],
    );
    let text = monitor("purchse.ful.auk");
    says(&text, &["unknown stage or outcome `purchse`", ":6:12", "^^^^^^^", "did you mean `purchase`?", "one of: click, purchase"]);
    says(&text, &["unknown space `ful`", ":6:20", "^^^", "did you mean `full`?", "unknown metric `auk`", ":6:24", "did you mean `auc`?"]);
    says(&monitor("click.full.gauc"), &["`gauc` needs `metrics.gauc_by`"]);
    says(
        &bad(&super::good::ESM2.replace("[split]", "[train]\nmonitor = \"purchase.conditional.auc\"\n[split]")),
        &["outcome `purchase` has no conditional space"],
    );
}

#[test]
fn one_fault_is_one_error() {
    for (text, expected) in [
        ("[stage]\nclick = 3\n[train]\nmonitor = \"click.full.auc\"\n", "stage.click: expected a table"),
        ("[stage.click]\ntower = 3\n", "stage.click.tower: expected the name"),
        ("[outcome.any]\nany_f = [\"click\"]\n[train]\nmonitor = \"any.full.auc\"\n", "unknown key `any_f`"),
        ("[stage.a]\nafter = \"click\"\nlabel = \"purchase\"\n[outcome.any]\nany_of = 3\n", "outcome.any.any_of: expected an array"),
        (
            "[stage.click.features]\nwithout = [\"u\"]\n[feature.u]\nkind = \"idd\"\n[feature.v]\nkind = \"id\"\n",
            "feature.u.kind: unknown value `idd`",
        ),
        ("[entity.u]\nkey = 3\n[feature.v]\nkind = \"id\"\nof = \"u\"\n", "entity.u.key: expected a string"),
        ("[stage.a]\nafter = 3\n[stage.b]\nafter = \"a\"\n", "stage.a.after: expected the name of a stage"),
    ] {
        let rendered = bad(&format!("{FUNNEL}{text}"));
        says(&rendered, &[expected]);
        // A misspelled required key is both unknown and missing.
        assert_eq!(count(&rendered), if text.contains("any_f") { 2 } else { 1 }, "{rendered}");
    }
}

#[test]
fn names_that_become_folders_and_columns() {
    let text = bad(&format!("[funnel]\nname = \"../x\"\nrow = \"a b\"\n[stage.x]\nafter = \"a b\"\n{DATA}"));
    says(&text, &["`../x` is no name for a funnel", ":2:8", "`a b` is no name for the row", ":3:7"]);
}

#[test]
fn plugins_registered_twice() {
    let mlp = registry::find(Kind::Tower, "mlp").expect("a test plugin");
    let text = crate::diagnostic::Diagnostics(twice_registered(&[(mlp, mlp)])).to_string();
    says(
        &text,
        &["error: two plugins are registered as tower `mlp`", "one at core/src/spec/tests/plugins.rs:", "in crate `esmm-funnel-core`"],
    );
}

#[test]
fn truth_of_some_stages() {
    let one = "probability = \"p\"\noutcome = \"y\"\n";
    let text = bad(&format!("{FUNNEL}[data.truth.purchse]\n{one}[feature.a]\nkind = \"id\"\ncolumns = [\"p\"]\n"));
    says(&text, &["no truth of `click`, `purchase`", "[data.truth]: no stage `purchse`", "did you mean `purchase`?"]);
    says(&text, &["column `p` is the truth of stage `purchse`, so feature `a` cannot read it"]);
    says(&bad(&format!("{FUNNEL}[data.truth.click]\nprobability = \"p\"\n")), &["`[data.truth.click]` has no `outcome`"]);
}
