#!/usr/bin/env python3
"""Logistic-regression baselines on the two real data sets: what a linear model reaches, for comparison.

    sklearn_baselines.py hillstrom hillstrom.csv [--test-rows FILE...] [--seeds 0 1 2 3 4]
    sklearn_baselines.py weekly weekly_funnel_200hh.csv.gz [--quick] [--jobs N]

hillstrom: one-hot regression over the 8 features (never `spend`, never a label), every label over the full space. The test
rows are those of --test-rows (Parquet or CSV files with a column `row_number`, counted from 0), else 30 % at random for each seed.
weekly: trained on weeks <= 41, tested on weeks >= 46. Each encoding's C is chosen on weeks 42 to 45, per label; nothing is
chosen on the test weeks, and the model is not fitted again with the validation weeks unless --refit is given.

PCOC is the mean prediction over the observed rate. Needs scikit-learn, pandas and pyarrow.
"""
import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HILLSTROM_LABELS = ["visit", "conversion"]
HILLSTROM_CATEGORIES = ["history_segment", "zip_code", "channel", "segment", "mens", "womens", "newbie", "recency"]
WEEKLY_LABELS = ["visit", "grocery", "category_buy", "discount_buy"]
WEEKLY_NUMBERS = ["v1", "v4", "v8", "g4", "c4", "c8", "d8", "since_cat"]
WEEKLY_CATEGORIES = ["category", "hh_age", "hh_income", "hh_home_ownership", "hh_marital_status", "hh_size", "hh_comp", "hh_kids_count"]
TRAIN_THROUGH, TEST_FROM = 41, 46


def scores(label, p):
    return {"rows": len(label), "positives": int(label.sum()), "auc": roc_auc_score(label, p),
            "logloss": log_loss(label, p, labels=[0, 1]), "pcoc": float(np.mean(p) / np.mean(label))}


def show(name, label, s):
    print(f"{name:<44} {label:<13} auc {s['auc']:.4f}  logloss {s['logloss']:.4f}  pcoc {s['pcoc']:.3f}  "
          f"rows {s['rows']}  positives {s['positives']}", flush=True)


def one_hot(frame, columns, train):
    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(frame.loc[train, columns].astype(str))
    return encoder.transform(frame[columns].astype(str))


def standardised(values, train):
    return sparse.csr_matrix(StandardScaler().fit(values[train]).transform(values).astype(np.float32))


# ---- hillstrom

def hillstrom(args):
    frame = pd.read_csv(args.data)
    if args.test_rows:
        read = lambda f: pd.read_parquet(f) if f.endswith(".parquet") else pd.read_csv(f)
        rows = np.concatenate([read(f)["row_number"].astype("int64").to_numpy() for f in args.test_rows])
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(frame) or len(np.unique(rows)) != len(rows):
            raise SystemExit(f"the row numbers must be distinct and from 0 to {len(frame) - 1}")
        tests = [("given rows", rows)]
    else:
        tests = [(f"seed {s}", np.random.default_rng(s).permutation(len(frame))[:round(len(frame) * args.test_share)]) for s in args.seeds]
    results = []
    for name, rows in tests:
        test = np.zeros(len(frame), bool)
        test[rows] = True
        # `history` is the one number: as it is, as its logarithm, and (in history_segment) in bands.
        history = frame["history"].to_numpy(float)[:, None]
        x = sparse.hstack([one_hot(frame, HILLSTROM_CATEGORIES, ~test),
                           standardised(np.hstack([history, np.log1p(history)]), ~test)]).tocsr()
        for label in HILLSTROM_LABELS:
            y = frame[label].to_numpy()
            model = LogisticRegression(C=args.c, max_iter=2000).fit(x[~test], y[~test])
            s = scores(y[test], model.predict_proba(x[test])[:, 1])
            show(f"hillstrom {name} C={args.c:g}", label, s)
            results.append({"data": "hillstrom", "split": name, "C": args.c, "label": label, **s})
    if len(tests) > 1:
        for label in HILLSTROM_LABELS:
            aucs = [r["auc"] for r in results if r["label"] == label]
            print(f"hillstrom {label}: auc mean {np.mean(aucs):.4f} std {np.std(aucs, ddof=1):.4f} n {len(aucs)}")
    return results


# ---- weekly

def weekly_encodings():
    """Name and parts of each encoding of the weekly data."""
    numbers = ["std", "log1p", "onehot", "onehot+std", "onehot+log1p"]
    households = ["", "hh", "hh+hh*cat"]
    for number, household in itertools.product(numbers, households):
        yield (f"{number}{' ' + household if household else ''}", number.split("+"), household)
    yield ("onehot+std hh cat*num", ["onehot", "std", "cat*num"], "hh")
    yield ("onehot+std hh+hh*cat cat*num", ["onehot", "std", "cat*num"], "hh+hh*cat")


def weekly_matrix(frame, numbers, household, train):
    values = frame[WEEKLY_NUMBERS].to_numpy(float)
    parts = [one_hot(frame, WEEKLY_CATEGORIES, train)]
    if "std" in numbers:
        parts.append(standardised(values, train))
    if "log1p" in numbers:
        parts.append(standardised(np.log1p(values), train))
    if "onehot" in numbers:
        parts.append(one_hot(frame, WEEKLY_NUMBERS, train))
    if "cat*num" in numbers:
        crossed = pd.DataFrame({n: frame["category"] + "|" + frame[n].astype(str) for n in WEEKLY_NUMBERS})
        parts.append(one_hot(crossed, WEEKLY_NUMBERS, train))
    if "hh" in household:
        parts.append(one_hot(frame, ["household_id"], train))
    if "hh*cat" in household:
        pair = pd.DataFrame({"pair": frame["household_id"].astype(str) + "|" + frame["category"]})
        parts.append(one_hot(pair, ["pair"], train))
    return sparse.hstack(parts).tocsr()


def weekly_one(job):
    path, (name, numbers, household), grid, refit = job
    frame = pd.read_csv(path, keep_default_na=False)
    week = frame["week"].to_numpy()
    train, test = week <= TRAIN_THROUGH, week >= TEST_FROM
    valid = ~train & ~test
    x = weekly_matrix(frame, numbers, household, train)
    results = []
    for label in WEEKLY_LABELS:
        y = frame[label].to_numpy()
        best = None
        for c in grid:
            model = LogisticRegression(C=c, max_iter=3000).fit(x[train], y[train])
            auc = roc_auc_score(y[valid], model.predict_proba(x[valid])[:, 1])
            if best is None or auc > best[0]:
                best = (auc, c, model)
        auc, c, model = best
        if refit:
            model = LogisticRegression(C=c, max_iter=3000).fit(x[~test], y[~test])
        results.append({"data": "weekly", "encoding": name, "columns": x.shape[1], "label": label, "C": c, "valid_auc": auc,
                        **scores(y[test], model.predict_proba(x[test])[:, 1])})
    return results


def weekly(args):
    encodings = list(weekly_encodings())
    if args.quick:
        encodings = [e for e in encodings if e[0] in ("std", "onehot+std", "onehot+std hh")]
    jobs = [(args.data, e, args.grid, args.refit) for e in encodings]
    results = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(weekly_one, jobs):
            results += found
            for r in found:
                show(f"weekly {r['encoding']} [{r['columns']}] C={r['C']:g} valid {r['valid_auc']:.4f}", r["label"], r)
    for label in WEEKLY_LABELS:
        of = [r for r in results if r["label"] == label]
        chosen, best = max(of, key=lambda r: r["valid_auc"]), max(of, key=lambda r: r["auc"])
        print(f"{label:<13} best on valid: {chosen['encoding']} C={chosen['C']:g} test auc {chosen['auc']:.4f}; "
              f"best on test (for orientation): {best['encoding']} C={best['C']:g} {best['auc']:.4f}")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="also write the results to this file")
    commands = parser.add_subparsers(dest="command", required=True)
    h = commands.add_parser("hillstrom", help="e-mail campaign: visit, conversion")
    h.add_argument("data")
    h.add_argument("--test-rows", nargs="+", metavar="FILE", help="Parquet or CSV with a column row_number, counted from 0")
    h.add_argument("--test-share", type=float, default=0.3)
    h.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    h.add_argument("--c", type=float, default=1.0)
    h.set_defaults(run=hillstrom)
    w = commands.add_parser("weekly", help="grocery households: visit, grocery, category_buy, discount_buy")
    w.add_argument("data")
    w.add_argument("--grid", type=float, nargs="+", default=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0])
    w.add_argument("--jobs", type=int, default=1)
    w.add_argument("--quick", action="store_true", help="three encodings only")
    w.add_argument("--refit", action="store_true", help="fit again on the training and validation weeks before testing")
    w.set_defaults(run=weekly)
    args = parser.parse_args()
    results = args.run(args)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
