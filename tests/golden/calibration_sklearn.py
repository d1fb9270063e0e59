"""Makes calibration_sklearn.json: Platt scaling, isotonic regression and the best temperature of small random cases, weighted, with ties.

    pip install scikit-learn numpy scipy
    python tests/golden/calibration_sklearn.py
"""
import json, os
import numpy as np
import sklearn
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

rng = np.random.default_rng(2018)
cases = []
for n, slope, shift, ties, weighted in [(80, .5, .3, 1, False), (120, 2., -.5, 1, False), (150, 1., 2., 2, True), (200, .3, -1., 2, True),
                                        (300, 3., .0, 1, True), (400, .8, -2., 3, False), (500, 1.5, 1., 3, True)]:
    truth = rng.normal(-.5, 1.5, n)
    y = (rng.random(n) < expit(truth)).astype(int)
    z = np.round(slope * truth + shift, ties)
    w = np.round(rng.random(n) * 3 + .1, 1) if weighted else np.ones(n)
    platt = _SigmoidCalibration().fit(z, y, w)
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(z, y, sample_weight=w)

    def loss(beta):
        return np.sum(w * (np.logaddexp(0, beta * z) - y * beta * z))

    beta = minimize_scalar(loss, bounds=(1e-6, 50), method="bounded", options={"xatol": 1e-13, "maxiter": 10000}).x
    beta = brentq(lambda b: np.sum(w * (expit(b * z) - y) * z), beta * .9, beta * 1.1, xtol=1e-14)
    cases.append({"z": z.tolist(), "y": y.tolist(), "w": w.tolist(), "platt": {"slope": -platt.a_, "intercept": -platt.b_},
                  "temperature": 1 / beta, "isotonic": isotonic.predict(z).tolist()})
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "calibration_sklearn.json")
json.dump({"scikit_learn": sklearn.__version__, "cases": cases}, open(out, "w"))
