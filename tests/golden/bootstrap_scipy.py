"""Makes bootstrap_scipy.json: metrics of two models on rows written out as resampled, by scikit-learn; the interval of their difference by SciPy's own
bootstrap; DeLong's variance by its definition, over all pairs; and Holm's adjustment by statsmodels.

    pip install scikit-learn scipy numpy statsmodels
    python tests/golden/bootstrap_scipy.py
"""
import json, os
import numpy as np
import scipy, sklearn, statsmodels
from scipy.stats import bootstrap, norm
from sklearn.metrics import log_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(1993)


def ece(y, p, bins):
    order, n, total = np.argsort(p, kind="stable"), len(y), 0.0
    for b in range(bins):
        part = order[b * n // bins:(b + 1) * n // bins]
        total += abs((p[part] - y[part]).sum())
    return total / n


def delong(y, a, b):
    pos, neg = np.where(y == 1)[0], np.where(y == 0)[0]
    kernel = lambda s: (s[pos][:, None] > s[neg][None, :]) + .5 * (s[pos][:, None] == s[neg][None, :])
    d = kernel(b) - kernel(a)
    variance = d.mean(1).var(ddof=1) / len(pos) + d.mean(0).var(ddof=1) / len(neg)
    z = d.mean() / np.sqrt(variance)
    return {"difference": d.mean(), "se": np.sqrt(variance), "p": 2 * norm.sf(abs(z))}


cases = []
for n, rate, ties in [(80, .3, 2), (120, .2, 1), (200, .5, 3), (400, .1, 3)]:
    y = (rng.random(n) < rate).astype(int)
    y[:3], y[3:6] = 1, 0
    a = np.clip(np.round(.5 * rng.random(n) + .3 * y * rng.random(n), ties), .001, .999)
    b = np.clip(np.round(.6 * a + .2 * rng.random(n) + .1 * y, ties), .001, .999)
    bins = 7
    resamples = []
    while len(resamples) < 5:
        rows = np.sort(rng.integers(0, n, n))
        if 0 < y[rows].sum() < n:
            resamples.append({
                "times": np.bincount(rows, minlength=n).tolist(),
                "values": [[roc_auc_score(y[rows], p[rows]), log_loss(y[rows], p[rows]), p[rows].sum() / y[rows].sum(),
                            ece(y[rows], p[rows], bins)] for p in (a, b)]})
    intervals = {}
    for name, metric in [("auc", roc_auc_score), ("logloss", lambda y, p: log_loss(y, p, labels=[0, 1]))]:
        found = bootstrap((y, a, b), lambda y, a, b: metric(y, b) - metric(y, a), paired=True, vectorized=False, n_resamples=3000,
                          method="percentile", random_state=7)
        intervals[name] = {"low": found.confidence_interval.low, "high": found.confidence_interval.high, "se": found.standard_error}
    cases.append({"y": y.tolist(), "a": a.tolist(), "b": b.tolist(), "bins": bins, "resamples": resamples, "scipy": intervals,
                  "delong": delong(y, a, b)})

p = [.01, .04, .03, .005, .2, .04, .9]
holm = {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()}
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap_scipy.json")
versions = {"scipy": scipy.__version__, "scikit_learn": sklearn.__version__, "statsmodels": statsmodels.__version__}
json.dump({**versions, "cases": cases, "holm": holm}, open(out, "w"))
