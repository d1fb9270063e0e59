#!/usr/bin/env python3
"""Why the entire-space CVR is overpredicted: worlds with known truth × settings × seeds, a JSON line each, and a table.

    bench/results/bias.py run    --out DIR [--worlds NAME…] [--settings NAME…] [--seeds 1 2]
    bench/results/bias.py table  --out DIR [--worlds NAME…] [--settings NAME…]
    bench/results/bias.py oracle --out DIR --worlds NAME…

A world is a set of options of bench/gen.py, made once below DIR/worlds; what is measured is its held-out part. Tuning worlds are for
choosing; those with `confirm` in their name are for the settings that were chosen, and nothing is chosen on them. DIR/bias.jsonl gets a line a
run; what is there is not done again. `oracle` replaces the learned model by fits that know more or less of the true effects.
Needs numpy and pyarrow. docs/bias.md says what came of it.

What is measured, with p the true conditional CVR of a row, q the model's, and c the model's CTR:
  entire      Σ q / Σ p over all rows                      what is to be explained; needs truth
  unclicked   the same over rows without a click           needs truth
  clicked     the same over clicked rows                   p stands for the purchases that one sees, without their noise
  seen        Σ q / (Σ_clicked p/c)                        over all rows, against what clicked rows stand for if c is the propensity: error of the
                                                           CVR tower as a function of what the model knows; without truth, with purchases for p
  hidden      (Σ_clicked p/c) / Σ p                        what the model's CTR does not know of why rows were clicked; entire = seen · hidden
"""
import argparse, json, os, shutil, subprocess, sys
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROWS = 300_000
HELD = 100_000
# A vocabulary of 0.3 makes as many rows an id of 300,000 rows as one of 1 has of a million.
WORLDS = {
    "alike": dict(rho=.85, vocab=.3),
    "alike-2": dict(rho=.85, vocab=.3, seed=7),
    "unlike": dict(rho=.4, vocab=.3),
    "unlike-2": dict(rho=.4, vocab=.3, seed=7),
    "confounded": dict(rho=.7, vocab=.3, confound=.7),
    "dense": dict(rho=.85, vocab=.03),
    "sparse": dict(rho=.85, vocab=1.0),
    # The world and the held-out rows of `alike`, with fewer and more rows to learn from.
    "alike-100k": dict(rho=.85, vocab=.3, rows=100_000),
    "alike-1m": dict(rho=.85, vocab=.3, rows=1_000_000),
    "alike-3m": dict(rho=.85, vocab=.3, rows=3_000_000),
    "million": dict(rho=.85, vocab=1.0, rows=1_000_000),
    "confirm-alike": dict(rho=.85, vocab=.3, seed=101, held=200_000),
    "confirm-middle": dict(rho=.7, vocab=.3, seed=102, held=200_000),
    "confirm-unlike": dict(rho=.4, vocab=.3, seed=103, held=200_000),
    "confirm-confounded": dict(rho=.7, vocab=.3, seed=104, confound=.7, held=200_000),
    "confirm-dense": dict(rho=.7, vocab=.05, seed=105, held=200_000),
    "confirm-million": dict(rho=.85, vocab=1.0, seed=106, rows=1_000_000, held=200_000),
}
AITM = "stage.purchase.tower={ kind = \"aitm\", hidden = [360, 200, 80] }"
NO_TOWER = ["defaults.tower={ kind = \"linear\" }"]


def table_lr(lr, kind="adam", **more):
    rest = "".join(f", {k} = {v}" for k, v in more.items())
    return f"embedding.optimizer={{ kind = \"{kind}\", lr = {lr}{rest} }}"


BASE = ["objective.kind=conditional", "embedding.per_stage=true"]
# What differs from configs/base.toml.
SETTINGS = {
    "default": [],
    "base": BASE,
    "esmm_ns": ["embedding.per_stage=true"],
    "base, shared": ["objective.kind=conditional"],
    "table 1e-4": [table_lr(1e-4)],
    "table 1e-3": [table_lr(1e-3)],
    "table 3e-3": [table_lr(3e-3)],
    "table adagrad .05": [table_lr(.05, "adagrad")],
    "l2 1e-5": [table_lr(3e-4, l2=1e-5)],
    "l2 1e-4": [table_lr(3e-4, l2=1e-4)],
    "table 1e-3, l2 1e-5": [table_lr(1e-3, l2=1e-5)],
    "min_count 3": ["feature.ids.min_count=3"],
    "min_count 10": ["feature.ids.min_count=10"],
    "oov .01": ["embedding.oov_rate=0.01"],
    "oov .05": ["embedding.oov_rate=0.05"],
    "init_std .001": ["embedding.init_std=0.001"],
    "init_std .1": ["embedding.init_std=0.1"],
    "epochs 2": ["train.epochs=2"],
    "epochs 3": ["train.epochs=3"],
    "no decay": ["train.decay=none"],
    "batch 256": ["train.batch_rows=256"],
    "base, batch 256": BASE + ["train.batch_rows=256"],
    "init_bias -4.4": ["stage.purchase.init_bias=-4.4"],
    "init_bias -6": ["stage.purchase.init_bias=-6.0"],
    "linear": NO_TOWER,
    "dropout .2": ["defaults.tower={ kind = \"mlp\", hidden = [360, 200, 80], dropout = 0.2 }"],
    "wide_deep": ["defaults.tower={ kind = \"wide_deep\", hidden = [360, 200, 80] }"],
    "deepfm": ["defaults.tower={ kind = \"deepfm\", hidden = [360, 200, 80] }"],
    "aitm": [AITM],
    "unbias": BASE + ["objective.inverse_propensity=true", "objective.max_weight=100"],
    "unbias, shared": ["objective.kind=conditional", "objective.inverse_propensity=true", "objective.max_weight=100"],
    "escm2_ips": ["objective.kind=escm2_ips"],
    "escm2_ips 1, batch 256": ["objective.kind=escm2_ips", "objective.counterfactual_weight=1.0", "objective.max_weight=100", "train.batch_rows=256"],
    "escm2_ips 1": ["objective.kind=escm2_ips", "objective.counterfactual_weight=1.0", "objective.max_weight=100"],
    "escm2_dr": ["objective.kind=escm2_dr"],
    "dcmt": ["objective.kind=dcmt"],
    "nise": ["objective.kind=nise"],
}

# The same with towers of 64 and 32, which train in a quarter of the time.
SMALL = ["defaults.tower={ kind = \"mlp\", hidden = [64, 32] }"]
for name, sets in list(SETTINGS.items()):
    if not any("tower" in s for s in sets):
        SETTINGS[f"small: {name}"] = SMALL + sets
SETTINGS["small: aitm"] = SMALL + ["stage.purchase.tower={ kind = \"aitm\", hidden = [64, 32] }"]
SETTINGS["small: dropout .2"] = ["defaults.tower={ kind = \"mlp\", hidden = [64, 32], dropout = 0.2 }"]


def auc(y, p):
    """Area under the ROC curve, ties averaged."""
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    y = np.asarray(y, bool)
    ones, zeros = y.sum(), (~y).sum()
    return float((rank[y].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def logloss(y, p):
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(y > 0, np.log(p), np.log1p(-p))))


def measure(t, c, q):
    """All figures of a model with CTR `c` and CVR `q` on the rows of the table `t`."""
    y, z, p, cf = (t[k].to_numpy().astype(float) for k in ("click", "purchase", "p_purchase", "cf_purchase"))
    on = y > 0
    stood_for = (p[on] / c[on]).sum()
    out = {
        "auc": {"ctr": auc(y, c), "clicked": auc(z[on], q[on]), "ctcvr": auc(z, c * q), "entire": auc(cf, q)},
        "logloss": {"ctr": logloss(y, c), "clicked": logloss(z[on], q[on]), "ctcvr": logloss(z, c * q), "entire": logloss(cf, q)},
        "pcoc": {"entire": q.sum() / p.sum(), "clicked": q[on].sum() / p[on].sum(), "unclicked": q[~on].sum() / p[~on].sum(),
                 "ctr": c.sum() / y.sum(), "ctcvr": (c * q).sum() / z.sum(), "entire_outcomes": q.sum() / cf.sum(),
                 "seen": q.sum() / stood_for, "hidden": stood_for / p.sum(), "seen_purchases": q.sum() / (z[on] / c[on]).sum(),
                 "rows": (1 / c[on]).sum() / len(y)},
    }
    # By tenths of the model's CTR: clicked rows, all rows.
    tenth = np.searchsorted(np.quantile(c, np.arange(1, 10) / 10), c)
    out["by_ctr"] = {"clicked": [float(q[(tenth == k) & on].sum() / max(p[(tenth == k) & on].sum(), 1e-9)) for k in range(10)],
                     "all": [float(q[tenth == k].sum() / p[tenth == k].sum()) for k in range(10)]}
    # By how often the row's user and item were seen in training, the less of both.
    if "seen_rows" in t.column_names:
        n = t["seen_rows"].to_numpy()
        out["by_count"] = {}
        for lo, hi in ((0, 1), (1, 3), (3, 10), (10, 30), (30, 10**9)):
            m = (n >= lo) & (n < hi)
            if m.any():
                out["by_count"][f"{lo}+"] = {"share": float(m.mean()), "entire": float(q[m].sum() / p[m].sum()), "clicked": float(
                    q[m & on].sum() / p[m & on].sum())}
    return out


def world(args, name):
    """The folder of a world: train.parquet and held.parquet, with the truth's columns."""
    folder = os.path.join(args.out, "worlds", name)
    if os.path.exists(os.path.join(folder, "held.parquet")):
        return folder
    w = WORLDS[name]
    held = w.get("held", HELD)
    subprocess.run([sys.executable, args.gen, "--out", folder, "--train", str(w.get("rows", ROWS)), "--test", str(held), "--rho", str(w["rho"]),
                    "--confound", str(w.get("confound", 0)), "--vocab-scale", str(w["vocab"]), "--seed", str(w.get("seed", 2018))],
                   check=True, stdout=subprocess.DEVNULL)
    parts = {}
    for part in ("train", "test"):
        t = pq.read_table(f"{folder}/{part}.parquet")
        truth = pq.read_table(f"{folder}/{part}_truth.parquet")
        for c in ("p_click", "cf_click", "p_purchase", "cf_purchase"):
            t = t.append_column(c, truth[c])
        parts[part] = t
        os.remove(f"{folder}/{part}.parquet"), os.remove(f"{folder}/{part}_truth.parquet")
    seen = lambda f: np.bincount(parts["train"][f].to_numpy(), minlength=int(parts["test"][f].to_numpy().max()) + 1)[parts["test"][f].to_numpy()]
    test = parts["test"].append_column("seen_rows", pa.array(np.minimum(seen("f_101"), seen("f_205")).astype(np.int64)))
    pq.write_table(parts["train"], f"{folder}/train.parquet")
    columns = [c for c in test.column_names if c != "seen_rows"]
    # The program wants a test part. In a tuning world nothing looks at these rows.
    pq.write_table(test.select(columns).slice(0, 1000), f"{folder}/spare.parquet")
    pq.write_table(test.select(columns), f"{folder}/valid.parquet")
    pq.write_table(test, f"{folder}/held.parquet")
    return folder


SPEC = """extends = "{root}/configs/base.toml"
[funnel]
name = "bias"
row  = "impression"
[stage.click]
after = "impression"
label = "click"
[stage.purchase]
after = "click"
label = "purchase"
[data]
source = {{ kind = "parquet", files = ["{w}/train.parquet"] }}
keys   = ["sample_id"]
[split]
kind = "files"
valid = ["{w}/valid.parquet"]
test  = ["{w}/spare.parquet"]
[feature.ids]
kind = "id"
columns = ["f_*"]
"""


def train(args, name, setting, seed):
    w = os.path.abspath(world(args, name))
    spec = os.path.join(w, "spec.toml")
    with open(spec, "w") as f:
        f.write(SPEC.format(root=root, w=w))
    run = os.path.join(args.out, "run")
    shutil.rmtree(run, ignore_errors=True)
    store = os.path.join(args.out, "store")
    tool = ["nice", "-n", "19", args.program]
    sets = [word for s in SETTINGS[setting] for word in ("--set", s)]
    subprocess.run(tool + ["run", spec, "--quiet", "--seed", str(seed), "--out", run, "--store", store] + sets, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run(tool + ["predict", run, "--quiet", "--data", f"{w}/valid.parquet", "--out", f"{run}/held.parquet", "--store", store],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    p = pq.read_table(f"{run}/held.parquet")
    t = pq.read_table(f"{w}/held.parquet")
    assert p["sample_id"].equals(t["sample_id"])
    figures = measure(t, p["p_click"].to_numpy(), p["p_purchase_given_click"].to_numpy())
    timing = json.load(open(f"{run}/metrics.json")).get("timing", {})
    shutil.rmtree(run)
    return {"world": name, "setting": setting, "seed": seed, **figures, "seconds": timing.get("train_seconds")}


def lines(args):
    path = os.path.join(args.out, "bias.jsonl")
    if not os.path.exists(path):
        return []
    return [json.loads(line) for line in open(path)]


def wanted(args):
    worlds = args.worlds or [w for w in WORLDS if not w.startswith("confirm") and not w.endswith(("million", "0k", "1m", "3m"))]
    return worlds, args.settings or list(SETTINGS)


def run(args):
    os.makedirs(args.out, exist_ok=True)
    done = {(x["world"], x["setting"], x["seed"]) for x in lines(args)}
    worlds, settings = wanted(args)
    for seed in args.seeds:
        for setting in settings:
            for name in worlds:
                if (name, setting, seed) in done:
                    continue
                x = train(args, name, setting, seed)
                with open(os.path.join(args.out, "bias.jsonl"), "a") as f:
                    f.write(json.dumps(x) + "\n")
                print(show(name, setting, [x]), flush=True)


HEAD = ["world", "setting", "seeds", "AUC ctr", "clicked", "ctcvr", "entire", "log loss clicked", "ctcvr", "PCOC ctr", "ctcvr", "clicked", "seen", "hidden",
        "entire"]


def show(name, setting, xs):
    mean = lambda *path: float(np.mean([x[path[0]][path[1]] for x in xs]))
    cells = [f"{100 * mean('auc', k):.2f}" for k in ("ctr", "clicked", "ctcvr", "entire")]
    cells += [f"{mean('logloss', 'clicked'):.4f}", f"{mean('logloss', 'ctcvr'):.5f}"]
    cells += [f"{mean('pcoc', k):.2f}" for k in ("ctr", "ctcvr", "clicked", "seen", "hidden", "entire")]
    return "| " + " | ".join([name, setting, str(len(xs))] + cells) + " |"


def table(args):
    worlds, settings = wanted(args)
    all_lines = lines(args)
    print("| " + " | ".join(HEAD) + " |\n|---|---|" + "---:|" * (len(HEAD) - 2))
    for name in worlds:
        for setting in dict.fromkeys(list(settings) + ([] if args.settings else [x["setting"] for x in all_lines])):
            xs = [x for x in all_lines if (x["world"], x["setting"]) == (name, setting)]
            if xs:
                print(show(name, setting, xs))


# What an oracle of true effects may know: fields, and whether the latent user × item part.
DEMOGRAPHICS = ["121", "122", "124", "125", "126", "127", "128", "129", "301"]
ITEM_GROUPS = ["206", "207", "210", "216", "508", "509", "702", "853", "109_14", "110_14", "127_14", "150_14"]
KNOWS = {"nothing": ([], False), "demographics": (DEMOGRAPHICS, False), "and groups of items": (DEMOGRAPHICS + ITEM_GROUPS, False),
         "and users and items": (DEMOGRAPHICS + ITEM_GROUPS + ["101", "205"], False),
         "everything": (DEMOGRAPHICS + ITEM_GROUPS + ["101", "205"], True)}


def logistic(x, y, steps=30):
    """Coefficients of a logistic regression on soft or hard labels, by Newton's method, with a trace of ridge."""
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        h = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(x.shape[1])
        w += np.linalg.solve(h, x.T @ (y - p))
    return w


def oracle(args):
    """Fits on clicked training rows by what they know of the true effects; labels are the true probabilities, so that nothing is left to noise."""
    import importlib.util
    spec = importlib.util.spec_from_file_location("gen", args.gen)
    gen = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gen)
    logit = lambda p: np.log(p) - np.log1p(-p)
    print("| world | known | AUC ctr | clicked | entire | PCOC clicked | seen | hidden | entire |\n|---|---|" + "---:|" * 7)
    for name in wanted(args)[0]:
        folder = world(args, name)
        w = gen.World(argparse.Namespace(**json.load(open(f"{folder}/meta.json"))["args"]))
        tables = [pq.read_table(f"{folder}/{part}.parquet") for part in ("train", "held")]
        effect = lambda t, s, fields: sum((w.eff[s][f][t["f_" + f].to_numpy()].astype(float) for f in fields), np.zeros(t.num_rows))
        total = lambda t, s: logit(np.clip(t["p_" + w.stages[s]].to_numpy().astype(float), 1e-9, 1 - 1e-7)) - w.b[s]
        for known, (fields, latent) in KNOWS.items():
            xs = []
            for t in tables:
                a, b = (total(t, s) if latent else effect(t, s, fields) for s in (0, 1))
                xs.append(np.stack([np.ones(t.num_rows), a, b, a * a, a * b, b * b], 1))
            t, held = tables
            on = t["click"].to_numpy() > 0
            ctr = logistic(xs[0], t["p_click"].to_numpy().astype(float))
            cvr = logistic(xs[0][on], t["p_purchase"].to_numpy().astype(float)[on])
            c, q = (1 / (1 + np.exp(-np.clip(xs[1] @ k, -30, 30))) for k in (ctr, cvr))
            m = measure(held, c, q)
            cells = [f"{100 * m['auc'][k]:.1f}" for k in ("ctr", "clicked", "entire")]
            cells += [f"{m['pcoc'][k]:.2f}" for k in ("clicked", "seen", "hidden", "entire")]
            print("| " + " | ".join([name, known] + cells) + " |", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["run", "table", "oracle"])
parser.add_argument("--program", default=os.path.join(root, "target/release/esmm-funnel"))
parser.add_argument("--gen", default=os.path.join(root, "bench/gen.py"))
parser.add_argument("--out", required=True)
parser.add_argument("--worlds", nargs="*")
parser.add_argument("--settings", nargs="*")
parser.add_argument("--seeds", nargs="*", type=int, default=[1])

if __name__ == "__main__":
    args = parser.parse_args()
    {"run": run, "table": table, "oracle": oracle}[args.what](args)
