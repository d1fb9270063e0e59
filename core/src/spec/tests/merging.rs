//! `extends` and `--set`.

use super::super::*;
use super::{FUNNEL, bad_with, good_with, says};
use std::fs;

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("folder");
    }
    fs::write(&path, text).expect("file");
    path
}
fn shown(path: &Path, sets: &[&str]) -> String {
    let dir = path.parent().and_then(Path::parent).map_or(String::new(), |d| d.display().to_string() + "/");
    let sets: Vec<String> = sets.iter().map(|&s| s.into()).collect();
    match load(path, &sets) {
        Ok(loaded) => panic!("this loads: {}", loaded.spec.resolved()),
        Err(e) => e.to_string().replace(&dir, ""),
    }
}

#[test]
fn this_file_wins_over_its_chain_of_bases() {
    let dir = tempfile::tempdir().expect("folder");
    write(
        dir.path(),
        "configs/root.toml",
        "[train]\nepochs = 5\nseed = 5\n[split]\nkind = \"group\"\ncolumn = \"u\"\n[metrics]\nslices = [\"a\", \"b\"]\n",
    );
    let base = "extends = \"root.toml\"\n[train]\nepochs = 4\n[data]\nsource = { kind = \"csv\", files = [\"../logs/*.csv\"] }\n\
                [feature.x]\nkind = \"id\"\n[feature.y]\nkind = \"id\"\n[stage.click]\nafter = \"impression\"\n\
                tower = { kind = \"mlp\", hidden = [7] }\n[stage.cart]\nafter = \"click\"\n";
    write(dir.path(), "configs/base.toml", base);
    let top = "extends = \"../configs/base.toml\"\n[split]\nkind = \"random\"\n[metrics]\nslices = [\"c\"]\n[stage]\ncart = false\n\
               [feature]\ny = false\n[stage.purchase]\nafter = \"click\"\n[stage.click.tower]\ndropout = 0.25\n";
    let path = write(dir.path(), "funnels/top.toml", top);
    let Loaded { spec, warnings } = load(&path, &["data.source.delimiter=;".into()]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings, []);
    assert_eq!((spec.train.epochs.get(), spec.train.seed), (4, 5));
    assert_eq!(spec.split, Split::default(), "a changed kind replaces its table");
    assert_eq!(spec.metrics.slices, ["c"], "arrays are replaced");
    assert_eq!(spec.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["click", "purchase"], "cart is removed");
    assert_eq!(spec.features.declared.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["x"]);
    assert_eq!(spec.stages[0].tower.settings["hidden"], toml::Value::from(vec![7]), "the same kind is merged");
    assert_eq!(spec.stages[0].tower.settings["dropout"].as_float(), Some(0.25));
    let files = dir.path().join("logs/*.csv").display().to_string();
    assert_eq!(spec.data.source.settings["files"], toml::Value::from(vec![files]), "from the folder of the file that states it");
    assert_eq!(spec.place("train.epochs").map(|p| p.source.name.clone()), Some(dir.path().join("configs/base.toml").display().to_string()));
    assert_eq!(spec.funnel.name, "top");
}

#[test]
fn a_removed_stage_leaves_an_inherited_chain() {
    let spec = good_with(&FUNNEL.replace("click ->", "click -> cart ->"), &["stage.cart=false"]);
    assert_eq!(spec.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["click", "purchase"]);
    assert_eq!(spec.stages[1].after, After::Stage("click".into()));
    assert_eq!(spec.funnel.chain.as_deref(), Some("impression -> click -> purchase"));
    let same_file = super::bad(&format!("{FUNNEL}[stage]\npurchase = false\n"));
    says(&same_file, &["error: stage `purchase` is removed, but the chain names it", "removed here", "take `purchase` out of the chain"]);
    let loaded = super::loaded(&format!("{FUNNEL}[entity]\nuser = false\n"), &[]).unwrap_or_else(|e| panic!("{e}"));
    says(&loaded.warnings[0].message, &["`entity.user = false` removes nothing"]);
}

#[test]
fn circles_and_missing_files() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), "s/a.toml", "extends = \"b.toml\"\n");
    write(dir.path(), "s/b.toml", "extends = \"c.toml\"\n");
    write(dir.path(), "s/c.toml", "# back\nextends = \"./a.toml\"\n");
    let text = shown(&dir.path().join("s/a.toml"), &[]);
    says(
        &text,
        &["error: `extends` goes in a circle: `s/a.toml` → `s/b.toml` → `s/c.toml` → `s/a.toml`", "--> s/c.toml:2:11", "^^^^^^^^^^"],
    );
    let path = write(dir.path(), "s/d.toml", "extends = \"bbb.toml\"\n");
    write(dir.path(), "s/bb.toml", "");
    says(
        &shown(&path, &[]),
        &["error: cannot read `s/bbb.toml`: no such file", "--> s/d.toml:1:11", "^^^^^^^^^^", "help: did you mean `bb.toml`?"],
    );
    says(&shown(&dir.path().join("s/e.toml"), &[]), &["error: cannot read `s/e.toml`: no such file"]);
    let path = write(dir.path(), "s/f.toml", "extends = [\"a.toml\"]\n");
    says(&shown(&path, &[]), &["error: extends: expected a string, found an array", "--> s/f.toml:1:11", "help: a spec extends one file"]);
    // A chain that leaves out a stage which the base refines.
    write(dir.path(), "s/i.toml", &format!("{FUNNEL}[stage.purchase]\nweight = 2\n"));
    let path = write(dir.path(), "s/j.toml", "extends = \"i.toml\"\n[funnel]\nchain = \"impression -> click\"\n");
    let text = shown(&path, &[]);
    says(
        &text,
        &[
            "stage `purchase` is not in the chain and has no `after`",
            "--> s/i.toml:5:8",
            "::: s/j.toml:3:9",
            "`purchase = false` under `[stage]`",
        ],
    );
    // A fault in a base is shown in the base, together with one here.
    write(dir.path(), "s/g.toml", "[train]\nepocs = 1\n");
    let path = write(dir.path(), "s/h.toml", &format!("extends = \"g.toml\"\n{FUNNEL}[metrics]\nbins = 3\n"));
    says(
        &shown(&path, &[]),
        &["--> s/g.toml:2:1", "did you mean `epochs`?", "--> s/h.toml:7:1", "keys of `[metrics]`: gauc_by, slices, ece_bins, batch_auc"],
    );
}

#[test]
fn set_is_toml_else_a_string() {
    let sets =
        ["train.monitor=click.full.auc", "metrics.slices=[\"a\"]", "train.clip_norm = 0.5", "data.weight=w", "feature.\"a.b\".kind=id"];
    let spec = good_with(FUNNEL, &sets);
    assert_eq!(spec.train.monitor.as_deref(), Some("click.full.auc"));
    assert_eq!((spec.metrics.slices, spec.train.clip_norm, spec.data.weight.as_deref()), (vec!["a".to_owned()], 0.5, Some("w")));
    assert_eq!(spec.features.declared[0].name, "a.b");
    let spec = good_with(FUNNEL, &["data.source.files=[\"x/../y.csv\"]", "stage.click.tower.hidden=[64]"]);
    assert_eq!(spec.data.source.settings["files"], toml::Value::from(vec!["y.csv"]), "from the working directory");
    assert_eq!((spec.stages[0].tower.kind.as_str(), &spec.stages[0].tower.settings["hidden"]), ("mlp", &toml::Value::from(vec![64])));
    // The order of a kind and its settings does not matter.
    let text = format!("{FUNNEL}[stage.click]\ntower = \"linear\"\n");
    for sets in [["stage.click.tower.hidden=[3]", "stage.click.tower=mlp"], ["stage.click.tower.kind=mlp", "stage.click.tower.hidden=[3]"]]
    {
        assert_eq!(good_with(&text, &sets).stages[0].tower.settings["hidden"], toml::Value::from(vec![3]));
    }
}

#[test]
fn faults_in_set_have_carets_of_their_own() {
    let sets = ["train.epochs=many", "stage.click.tower.hiden=[64]", "trian.epochs=1", "nothing", "a b=1"];
    let text = bad_with(FUNNEL, &sets);
    says(
        &text,
        &[
            "error: train.epochs: expected a whole number, 1 or more, found string \"many\"",
            "--> --set:1:14",
            "1 | train.epochs=many",
            "^^^^",
        ],
    );
    says(&text, &["error: stage.click.tower: unknown field `hiden`", "--> --set:1:19", "did you mean `hidden`?"]);
    says(&text, &["error: unknown key `trian` in a spec", "--> --set:1:1", "did you mean `train`?"]);
    says(&text, &["error: `nothing` is not `key=value`", "help: write `--set train.epochs=2`"]);
    says(&text, &["error: `a b` is not a key", "--> --set:1:1"]);
    assert_eq!(super::count(&text), 5, "{text}");
    let text = bad_with(FUNNEL, &["train.optimizer.lr=0.1"]);
    says(&text, &["error: train.optimizer: no `kind`", "--> --set:1:7", "help: add `--set train.optimizer.kind=adam`"]);
}
