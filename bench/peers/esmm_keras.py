#!/usr/bin/env python3
"""DeepCTR (Keras/TensorFlow) ESMM through its public API (run with venv-tf).  One JSON line per result."""

import argparse, os, sys, tempfile, time

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
from common import load, quality, Steps, rss_mb, emit, bench_infer

ap = argparse.ArgumentParser(description=__doc__)
ap.add_argument("--data", default="bench-data/flat")
ap.add_argument("--batch", type=int, default=1024)
ap.add_argument("--rows", type=int, default=1_000_000)
ap.add_argument("--max-steps", type=int, default=0)
ap.add_argument("--epochs", type=int, default=1)
ap.add_argument("--dim", type=int, default=18)
ap.add_argument("--tower", type=int, nargs="*", default=[360, 200, 80])
ap.add_argument("--lr", type=float, default=1e-3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--no-quality", action="store_true")
ap.add_argument("--no-infer", action="store_true")
a = ap.parse_args()
import tensorflow as tf
import importlib.metadata as im
from deepctr.feature_column import SparseFeat
from deepctr.models import ESMM

tf.config.threading.set_intra_op_parallelism_threads(a.threads)
tf.keras.utils.set_random_seed(a.seed)
meta, X, Y = load(a.data, "train", a.max_steps * a.batch if a.max_steps else a.rows)
_, XT, YT = load(a.data, "test")
tag = {
    "impl": "deepctr-keras",
    "method": "esmm",
    "batch": a.batch,
    "rows": len(X),
    "epochs": a.epochs,
    "seed": a.seed,
    "threads": a.threads,
    "lib": f"deepctr {im.version('deepctr')} / tensorflow {tf.__version__}",
}
cols = [SparseFeat("f_" + f, meta["vocab"][f], embedding_dim=a.dim) for f in meta["fields"]]
dic = lambda x: {"f_" + f: np.ascontiguousarray(x[:, j]) for j, f in enumerate(meta["fields"])}
m = ESMM(cols, tower_dnn_hidden_units=tuple(a.tower), seed=a.seed)  # library defaults (l2_reg_embedding=1e-5)
m.compile(tf.keras.optimizers.legacy.Adam(a.lr), loss=["binary_crossentropy", "binary_crossentropy"])
st = Steps()


class CB(tf.keras.callbacks.Callback):
    def on_train_batch_end(s, b, logs=None):
        st.tick()


t = time.time()
m.fit(dic(X), [Y[:, 0], Y[:, -1]], batch_size=a.batch, epochs=a.epochs, verbose=0, callbacks=[CB()])
emit("train", **tag, **st.stats(a.batch), epoch_s=round((time.time() - t) / a.epochs, 2), peak_rss_mb=rss_mb())
if not a.no_quality:
    p = [z[:, 0].astype(np.float64) for z in m.predict(dic(XT), 8192, verbose=0)]
    emit("quality", **tag, **quality(a.data, YT, p[0], p[1] / np.maximum(p[0], 1e-9), p[1]))
if not a.no_infer:
    f = tf.function(lambda d: m(d, training=False))
    emit("infer", **tag, **bench_infer(lambda x: f({k: tf.constant(v) for k, v in dic(x).items()}), XT, single=300))
