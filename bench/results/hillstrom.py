#!/usr/bin/env python3
"""Our funnel against scikit-learn on the very same rows of Hillstrom's file: five random 70/30 splits (split seeds 1-5).

    bench/results/hillstrom.py hillstrom.csv [--program target/release/esmm-funnel]

Gives each row its number as a key, runs `examples/hillstrom.toml` with `--predictions`, and fits `sklearn_baselines.py`'s logistic
regression on exactly the rows that were not predicted. Needs scikit-learn, pandas and pyarrow.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile
import pandas as pd

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(os.path.dirname(here))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data")
parser.add_argument("--program", default=os.path.join(root, "target/release/esmm-funnel"))
args = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    numbered = os.path.join(folder, "hillstrom.csv")
    frame = pd.read_csv(args.data)
    frame.insert(0, "row_number", range(len(frame)))
    frame.to_csv(numbered, index=False)
    ours, theirs = {"visit": [], "conversion": []}, {"visit": [], "conversion": []}
    for seed in range(1, 6):
        run = os.path.join(folder, f"run-{seed}")
        subprocess.run([args.program, "run", os.path.join(root, "examples/hillstrom.toml"), "--quiet", "--predictions", "--out", run,
                        "--store", os.path.join(folder, "store"), "--set", f'data.source.files=["{numbered}"]',
                        "--set", 'data.keys=["row_number"]', "--set", f"split.seed={seed}"], check=True, stdout=subprocess.DEVNULL)
        test = json.load(open(os.path.join(run, "metrics.json")))["test"]
        out = subprocess.run([sys.executable, os.path.join(here, "sklearn_baselines.py"), "hillstrom", args.data, "--test-rows",
                              os.path.join(run, "predictions.parquet")], check=True, capture_output=True, text=True).stdout
        for label in ours:
            ours[label].append(test[label]["full"]["auc"])
            theirs[label].append(float(re.search(rf"{label}\s+auc ([\d.]+)", out).group(1)))
            print(f"split {seed} {label:<11} ours {ours[label][-1]:.4f}  scikit-learn {theirs[label][-1]:.4f}", flush=True)
    for label in ours:
        print(f"mean    {label:<11} ours {statistics.mean(ours[label]):.4f}  scikit-learn {statistics.mean(theirs[label]):.4f}")
