#!/usr/bin/env python3
"""Non-neural baseline: two LightGBM models (click on all rows, click&purchase on all rows; pCVR = ratio, as DIVISION)
on smoothed out-of-fold target encodings of every field (CTR and CTCVR) + log counts.  One JSON line per result."""

import argparse, os, sys, tempfile, time


import numpy as np, lightgbm as lgb
from common import load, quality, rss_mb, emit, bench_infer

ap = argparse.ArgumentParser(description=__doc__)
ap.add_argument("--data", default="bench-data/flat")
ap.add_argument("--rows", type=int, default=1_000_000)
ap.add_argument("--trees", type=int, default=200)
ap.add_argument("--leaves", type=int, default=63)
ap.add_argument("--lr", type=float, default=0.05)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--prior", type=float, default=50)
ap.add_argument("--seed", type=int, default=1)
a = ap.parse_args()
meta, X, Y = load(a.data, "train", a.rows)
_, XT, YT = load(a.data, "test")
tag = {"impl": "lightgbm", "method": "division", "rows": len(X), "threads": a.threads, "seed": a.seed, "lib": "lightgbm " + lgb.__version__}
t0 = time.time()
rng = np.random.default_rng(a.seed)
fold = rng.integers(0, 5, len(X))
lab = [Y[:, 0], Y[:, -1]]


def enc():
    tr, te = [], []
    for j, f in enumerate(meta["fields"]):
        v = meta["vocab"][f]
        x, xt = X[:, j], XT[:, j]
        n = np.bincount(x, minlength=v)
        for y in lab:
            m = y.mean()
            s = np.bincount(x, y, minlength=v)
            te.append(((s + a.prior * m) / (n + a.prior))[xt])
            o = np.empty(len(x))
            for k in range(5):  # leave the row's own fold out
                i = fold == k
                sk, nk = np.bincount(x[i], y[i], minlength=v), np.bincount(x[i], minlength=v)
                o[i] = ((s - sk + a.prior * m) / (n - nk + a.prior))[x[i]]
            tr.append(o)
        tr.append(np.log1p(n)[x])
        te.append(np.log1p(n)[xt])
    return np.stack(tr, 1).astype(np.float32), np.stack(te, 1).astype(np.float32)


A, B = enc()
t1 = time.time()
ms = [
    lgb.train(
        {
            "objective": "binary",
            "num_leaves": a.leaves,
            "learning_rate": a.lr,
            "num_threads": a.threads,
            "min_data_in_leaf": 200,
            "verbose": -1,
            "seed": a.seed,
        },
        lgb.Dataset(A, y),
        a.trees,
    )
    for y in lab
]
t2 = time.time()
emit("train", **tag, encode_s=round(t1 - t0, 2), epoch_s=round(t2 - t1, 2), peak_rss_mb=rss_mb())
p = [m.predict(B, num_threads=a.threads) for m in ms]
emit("quality", **tag, **quality(a.data, YT, p[0], np.minimum(p[1] / np.maximum(p[0], 1e-9), 1), p[1]))
emit("infer", **tag, **bench_infer(lambda x: [m.predict(x, num_threads=a.threads) for m in ms], B, single=300))
