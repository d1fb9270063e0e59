#!/usr/bin/env python3
"""Raw Ali-CCP text -> ready-to-train tensors, timed.  One JSON line per result.

--impl pandas   own straightforward version: dict of the common file, str.split per row, DataFrame, LabelEncoder per column (what users write)
       script   runs a public repository's own script (path in --script; e.g. torch-rechub examples/ranking/data/ali-ccp/preprocess_ali_ccp.py
                or AITM process_public_data.py) in a scratch directory that holds links to the raw files; nothing of it is copied here
"""

import argparse, os, subprocess, sys, tempfile, time, resource


import numpy as np, pandas as pd
from common import rss_mb, emit

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--raw", default="bench-raw")
ap.add_argument("--impl", default="pandas")
ap.add_argument("--script")
ap.add_argument("--name", default="")
ap.add_argument("--subdir", default=".", help="where the script expects the raw files, below its working directory")
ap.add_argument("--tmp", default="bench-tmp")
a = ap.parse_args()
FIELDS = "101 109_14 110_14 127_14 150_14 121 122 124 125 126 127 128 129 205 206 207 210 216 508 509 702 853 301".split()


def parse(s):
    d = {}
    for x in s.split("\x01"):
        f, r = x.split("\x02")
        d[f] = r.split("\x03")[0]
    return d


def own():
    from sklearn.preprocessing import LabelEncoder
    import torch

    t0 = time.time()
    out = {}
    common = {}
    for line in open(f"{a.raw}/common_features_train.csv"):
        i, _, f = line.rstrip("\n").split(",")
        common[i] = parse(f)
    t1 = time.time()
    rows, y = [], []
    for line in open(f"{a.raw}/sample_skeleton_train.csv"):
        _, c, b, i, _, f = line.rstrip("\n").split(",")
        if c == "0" and b == "1":
            continue
        d = parse(f)
        u = common[i]
        rows.append([d.get(k) or u.get(k, "0") for k in FIELDS])
        y.append((int(c), int(b)))
    t2 = time.time()
    df = pd.DataFrame(rows, columns=FIELDS)
    del rows
    for k in FIELDS:
        df[k] = LabelEncoder().fit_transform(df[k])
    X = torch.from_numpy(df.to_numpy(np.int64))
    Y = torch.tensor(y, dtype=torch.float32)
    t3 = time.time()
    emit(
        "preproc",
        impl="own-dict+LabelEncoder",
        rows=len(X),
        common_s=round(t1 - t0, 1),
        join_s=round(t2 - t1, 1),
        encode_s=round(t3 - t2, 1),
        total_s=round(t3 - t0, 1),
        rows_per_s=round(len(X) / (t3 - t0)),
        peak_rss_mb=rss_mb(),
    )


def script():
    os.makedirs(a.tmp, exist_ok=True)
    w = tempfile.mkdtemp(dir=a.tmp)
    d = os.path.join(w, a.subdir)
    os.makedirs(d, exist_ok=True)
    for f in os.listdir(a.raw):
        if f.startswith(("sample_skeleton", "common_features")):
            os.symlink(os.path.join(os.path.abspath(a.raw), f), os.path.join(d, f))
    n = [sum(1 for _ in open(f"{a.raw}/sample_skeleton_{p}.csv")) for p in ("train", "test") if os.path.exists(f"{a.raw}/sample_skeleton_{p}.csv")]
    t = time.time()
    r = subprocess.run([sys.executable, os.path.abspath(a.script)], cwd=w, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    s = time.time() - t
    ru = resource.getrusage(resource.RUSAGE_CHILDREN)
    emit(
        "preproc",
        impl=a.name or a.script,
        rc=r.returncode,
        rows=n,
        total_s=round(s, 1),
        cpu_s=round(ru.ru_utime + ru.ru_stime, 1),
        rows_per_s=round(sum(n) / s),
        peak_rss_mb=round(ru.ru_maxrss / 1024),
        err=r.stderr[-200:] if r.returncode else "",
    )


{"pandas": own, "script": script}[a.impl]()
