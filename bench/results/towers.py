#!/usr/bin/env python3
"""Towers and encoders on the weekly grocery funnel: `funnels/grocery.toml` with another tower and encoder, five seeds each, as one table.

    bench/results/towers.py [--program target/release/esmm-funnel] [--seeds 5] [--out RUNS] [--valid]

Everything but tower and encoder is as the funnel states it: nothing is tuned for any of them. Prints a Markdown table of the test
weeks (mean ± standard deviation over the seeds), or with --valid of the validation weeks. With --out the runs are kept there, and those that
are there already are not done again.
"""
import argparse, json, os, subprocess, tempfile

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STAGES = ["visit", "grocery", "category_buy", "discount_buy"]
HIDDEN = "hidden = [64, 32]"
# The name in the table, the tower of the first stage, that of the others.
TOWERS = [
    ("linear", "linear", None),
    ("mlp", f"mlp, {HIDDEN}", None),
    ("wide_deep", f"wide_deep, {HIDDEN}", None),
    ("deepfm", f"deepfm, {HIDDEN}", None),
    ("dcn_v2", f"dcn_v2, {HIDDEN}", None),
    ("autoint", f"autoint, {HIDDEN}", None),
    ("final_mlp", "final_mlp, first = [64, 32], second = [64, 32]", None),
    ("mlp, then aitm", f"mlp, {HIDDEN}", f"aitm, {HIDDEN}"),
]
ENCODERS = ["concat", "mmoe", "ple"]
# What these encoders mix, so that fields no longer stand apart.
MIXED = {"mmoe", "ple"}
NEEDS_FIELDS = {"deepfm", "autoint"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--program", default=os.path.join(root, "target/release/esmm-funnel"))
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--out")
parser.add_argument("--valid", action="store_true")
args = parser.parse_args()


def tower(text):
    kind, _, settings = text.partition(", ")
    return "{ kind = \"%s\"%s }" % (kind, ", " + settings if settings else "")


def run(folder, encoder, first, others):
    """The metrics of a repeated run, done unless it is there."""
    metrics = os.path.join(folder, "metrics.json")
    if not os.path.exists(metrics):
        sets = [f"encoder.kind={encoder}", f"defaults.tower={tower(others or first)}"]
        if others:
            sets.append(f"stage.visit.tower={tower(first)}")
        command = [args.program, "run", os.path.join(root, "funnels/grocery.toml"), "--quiet", "--repeat", str(args.seeds), "--out", folder]
        command += [word for s in sets for word in ("--set", s)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.load(open(metrics))


def main(out):
    part = "valid" if args.valid else "test"
    print("| encoder | tower | " + " | ".join(STAGES) + " |")
    print("|---|---|" + "---|" * len(STAGES))
    for encoder in ENCODERS:
        for name, first, others in TOWERS:
            if encoder in MIXED and name in NEEDS_FIELDS:
                continue
            folder = os.path.join(out, f"{encoder}-{name.replace(', ', '-').replace(' ', '-')}")
            metrics = run(folder, encoder, first, others)[part]
            cells = []
            for stage in STAGES:
                auc = metrics[stage]["full"]["auc"]
                cells.append(f"{auc['mean']:.4f} ± {auc['std']:.4f}")
            print(f"| {encoder} | {name} | " + " | ".join(cells) + " |", flush=True)


if args.out:
    main(args.out)
else:
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
