"""Makes metrics_sklearn.json: AUC and log loss of scikit-learn, plain and weighted, on small random cases with ties.

    pip install scikit-learn numpy
    python tests/golden/metrics_sklearn.py
"""
import json, os
import numpy as np
import sklearn
from sklearn.metrics import log_loss, roc_auc_score

rng = np.random.default_rng(2018)
cases = []
for n, rate, ties in [(30, .5, 2), (30, .1, 1), (60, .3, 2), (60, .05, 3), (100, .5, 1), (100, .2, 2), (120, .9, 3), (150, .04, 4)]:
    y = (rng.random(n) < rate).astype(int)
    y[0], y[1] = 0, 1
    p = np.clip(np.round(.6 * rng.random(n) + .3 * y * rng.random(n), ties), .001, .999)
    w = np.round(rng.random(n) * 3, 1).astype(np.float32).astype(float)
    cases.append({"p": p.tolist(), "y": y.tolist(), "w": w.tolist(),
                  "auc": roc_auc_score(y, p), "auc_weighted": roc_auc_score(y, p, sample_weight=w),
                  "log_loss": log_loss(y, p), "log_loss_weighted": log_loss(y, p, sample_weight=w)})
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics_sklearn.json")
json.dump({"scikit_learn": sklearn.__version__, "cases": cases}, open(out, "w"))
