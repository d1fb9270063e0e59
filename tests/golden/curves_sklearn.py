"""Makes curves_sklearn.json: ROC and precision-recall curves and calibration bins of scikit-learn, Wilson intervals of SciPy.

    pip install scikit-learn scipy numpy
    python tests/golden/curves_sklearn.py

Cases have ties, rare positives and weights (some of them 0, on rows that share their score with others). The calibration bins are
checked on predictions without ties, whose number is a multiple of the bins, where scikit-learn's quantile bins are bins of equal number.
"""
import json, os
import numpy as np
import scipy, sklearn
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

rng = np.random.default_rng(61)


def curves(y, p, w):
    fpr, tpr, _ = roc_curve(y, p, sample_weight=w, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(y, p, sample_weight=w)
    return {"fpr": fpr.tolist(), "tpr": tpr.tolist(), "recall": recall[::-1].tolist(), "precision": precision[::-1].tolist(),
            "average_precision": average_precision_score(y, p, sample_weight=w)}


def calibration(y, p, bins):
    rate, mean_p = calibration_curve(y, p, n_bins=bins, strategy="quantile")
    each = np.array_split(y[np.argsort(p, kind="stable")], bins)
    ends = [binomtest(int(e.sum()), len(e)).proportion_ci(method="wilson") for e in each]
    return {"mean_p": mean_p.tolist(), "rate": rate.tolist(), "low": [e.low for e in ends], "high": [e.high for e in ends]}


cases = []
for n, rate, ties in [(30, .5, 2), (30, .1, 6), (60, .3, 1), (60, .05, 6), (100, .5, 1), (100, .2, 6), (120, .9, 2)]:
    y = (rng.random(n) < rate).astype(int)
    y[0], y[1] = 0, 1
    raw = .6 * rng.random(n) + .3 * y * rng.random(n)
    p = np.clip(np.round(raw, ties), .001, .999)
    w = np.round(.1 + rng.random(n) * 3, 1).astype(np.float32).astype(float)
    case = {"p": p.tolist(), "y": y.tolist(), "w": w.tolist(), "plain": curves(y, p, None), "weighted": curves(y, p, w)}
    if ties == 6:
        case["calibration"] = calibration(y, p, 5)
    cases.append(case)
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "curves_sklearn.json")
json.dump({"scikit_learn": sklearn.__version__, "scipy": scipy.__version__, "cases": cases}, open(out, "w"))
