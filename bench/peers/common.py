"""Shared by the peer scripts: data loading, metrics, JSON lines, step timing."""

import json, os, resource, sys, time
import numpy as np
import pyarrow.parquet as pq


def load(data, part, rows=None):
    """-> meta, X (n,F) int64 ids, Y (n,K) float32 stage labels."""
    meta = json.load(open(f"{data}/meta.json"))
    cols = ["f_" + f for f in meta["fields"]] + meta["stages"]
    t = pq.read_table(f"{data}/{part}.parquet", columns=cols)
    if rows:
        t = t.slice(0, rows)
    X = np.empty((t.num_rows, len(meta["fields"])), np.int64)
    for j, f in enumerate(meta["fields"]):
        X[:, j] = t["f_" + f].to_numpy()
    Y = np.stack([t[s].to_numpy() for s in meta["stages"]], 1).astype(np.float32)
    return meta, X, Y


def auc(y, p):
    from scipy.stats import rankdata

    y = np.asarray(y) > 0.5
    n1 = int(y.sum())
    n0 = len(y) - n1
    if not n1 or not n0:
        return float("nan")
    return float((rankdata(p)[y].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def logloss(y, p):
    y = np.asarray(y, np.float64)
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def quality(data, Y, pctr, pcvr, pctcvr=None):
    """pctr: P(click); pcvr: P(purchase | click); on the whole test file."""
    t = pq.read_table(f"{data}/test_truth.parquet", columns=["p_purchase_if_clicked", "cf_purchase_if_clicked"]).slice(0, len(Y))
    ptrue, cf = t["p_purchase_if_clicked"].to_numpy(), t["cf_purchase_if_clicked"].to_numpy()
    pctcvr = pctr * pcvr if pctcvr is None else pctcvr
    cl, buy = Y[:, 0] > 0.5, Y[:, -1]
    r = lambda v: round(float(v), 5)
    return {
        "auc_ctr": r(auc(Y[:, 0], pctr)),
        "auc_cvr_clicked": r(auc(buy[cl], pcvr[cl])),
        "auc_ctcvr": r(auc(buy, pctcvr)),
        "auc_cvr_entire": r(auc(cf, pcvr)),
        "ll_ctr": r(logloss(Y[:, 0], pctr)),
        "ll_cvr_clicked": r(logloss(buy[cl], pcvr[cl])),
        "ll_ctcvr": r(logloss(buy, pctcvr)),
        "ll_cvr_entire": r(logloss(cf, pcvr)),
        "xent_cvr_entire": r(logloss(ptrue, pcvr)),
        "calib_ctr": r(pctr.mean() / Y[:, 0].mean()),
        "calib_cvr_clicked": r(pcvr[cl].mean() / buy[cl].mean()),
        "calib_ctcvr": r(pctcvr.mean() / buy.mean()),
        "calib_cvr_entire": r(pcvr.mean() / ptrue.mean()),
    }


class Steps:
    """Wall-clock stamps at the end of every step (so a step includes its data feeding)."""

    def __init__(s):
        s.start()

    def start(s):
        s.t, s.c = [time.perf_counter()], [time.process_time()]

    def tick(s):
        s.t.append(time.perf_counter())
        s.c.append(time.process_time())

    def stats(s, batch, warm=10):
        cut = lambda v: v[warm:] if len(v) > 3 * warm else v[len(v) // 3 :]
        d, c = cut(np.diff(s.t)), cut(np.diff(s.c))
        m, q = float(np.median(d)), float(np.percentile(d, 10))
        # p10 and CPU time stand up better to a busy machine than the median wall time
        return {
            "steps_timed": len(d),
            "step_ms_median": round(1e3 * m, 3),
            "step_ms_p10": round(1e3 * q, 3),
            "samples_per_s": round(batch / m),
            "samples_per_s_p10": round(batch / q),
            "cpu_us_per_sample": round(1e6 * float(np.median(c)) / batch, 2),
        }


def rss_mb():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


sys.stdout = sys.stderr  # libraries print on stdout; only JSON lines go there


def emit(result, **kw):
    print(json.dumps({"result": result, **kw}), file=sys.__stdout__, flush=True)


def bench_infer(predict, X, batch=8192, reps=3, single=1000):
    """predict(X_slice)->array; batch throughput on up to 128k rows and single-row latency."""
    n = min(len(X), 131_072)
    ts = []
    predict(X[:batch])
    for _ in range(reps):
        t = time.perf_counter()
        for i in range(0, n, batch):
            predict(X[i : i + batch])
        ts.append(time.perf_counter() - t)
    lat = []
    for i in range(single):
        t = time.perf_counter()
        predict(X[i : i + 1])
        lat.append(time.perf_counter() - t)
    lat = np.array(lat[min(20, single // 5) :])
    return {
        "infer_batch": batch,
        "infer_samples_per_s": round(n / float(np.median(ts))),
        "single_row_us_p50": round(1e6 * float(np.median(lat)), 1),
        "single_row_us_p99": round(1e6 * float(np.percentile(lat, 99)), 1),
    }
