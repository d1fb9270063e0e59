"""Scores raw rows with nothing but the exported weights and NumPy, and compares with what `esmm-funnel predict` gave.

For towers `mlp` and `linear` on the encoder `concat`: their card lists the layers. All else is the same for every tower.

    pip install numpy pyarrow safetensors
    python score_numpy.py EXPORT ROWS.csv [PREDICTIONS.parquet]
"""

import math
import sys

import numpy as np
from safetensors.numpy import load_file

from export_inputs import Export, compare, read_rows

# Where the probability of a stage or an outcome is written, and in which order, says the card; these five lines read everything:
#     import json; from safetensors.numpy import load_file
#     card = json.load(open("EXPORT/card.json"))
#     weights = load_file("EXPORT/weights.safetensors")
#     print([(f["column"], f["columns"]) for f in card["features"]])
#     print({name: w.shape for name, w in weights.items()})


def dense(export, weights, stage, rows):
    """`[B, W]`: what a stage's tower sees, the features side by side."""
    prefix = f"table.{stage['name']}." if export.card["embedding"]["per_stage"] else "table."
    parts = []
    for feature in export.card["features"]:
        table = weights.get(prefix + feature.get("table", ""))
        if feature["kind"] in ("bag", "sequence"):
            ids, w = export.bag(feature, rows)
            part = np.einsum("bl,bld->bd", w, table[ids])
            if feature["pooling"] == "mean":
                total = w.sum(1, keepdims=True)
                part = np.divide(part, total, out=np.zeros_like(part), where=total != 0)
        elif feature["kind"] == "number":
            raw = np.array([export.number(feature, row) for row in rows], np.float32)
            part = table[buckets(export, raw, feature)] if table is not None else numbers(raw, feature["transform"])
        else:
            part = table[[export.id_row(feature, row) for row in rows]]
        without = feature["feature"] in stage["without"] or feature["column"] in stage["without"]
        parts.append(np.zeros_like(part) if without else part)
    return np.concatenate(parts, 1)


def numbers(raw, transform):
    """`[B, 1]`, or `[B, 2]` with an indicator of missing values."""
    missing, x = np.isnan(raw), raw.astype(np.float64)
    if transform["kind"] == "scale":
        x = np.sign(x) * np.log1p(np.abs(x)) if transform["log"] else x
        x = (x - transform["mean"]) / transform["std"] if transform["std"] > 0 else np.zeros_like(x)
    columns = [np.where(missing, 0.0, x)] + ([missing] if transform["indicator"] else [])
    return np.stack(columns, 1).astype(np.float32)


def buckets(export, raw, feature):
    """The table rows of a number that is cut into ranges: how many edges are not above it."""
    rows = np.searchsorted(np.array(feature["transform"]["edges"]), raw.astype(np.float64), side="right") + export.first
    return np.where(np.isnan(raw), export.missing, rows)


def tower(stage, weights, x):
    """`[B]`: the logit of a stage."""
    prefix, layers = stage["tower"]["prefix"], stage["tower"]["layers"]
    if not layers:
        raise SystemExit(f"tower `{stage['tower']['kind']}` of stage `{stage['name']}` is no plain stack of layers; take score_onnx.py")
    for layer in layers:
        get = lambda name: weights.get(prefix + name)
        x = x @ get(layer["linear"] + ".weight")
        if get(layer["linear"] + ".bias") is not None:
            x = x + get(layer["linear"] + ".bias")
        if layer["norm"]:
            kind, name = layer["norm"]
            x = norm(x, get, name) if kind == "layer" else standardise(x, get, name) * get(name + ".gamma") + get(name + ".beta")
        if layer["activation"]:
            kind, name = layer["activation"]
            x = activate(kind, x, get, name)
    return x[:, 0] + np.float32(stage["bias"])


def norm(x, get, name):
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * get(name + ".gamma") + get(name + ".beta")


def standardise(x, get, name):
    return (x - get(name + ".running.mean")) / np.sqrt(get(name + ".running.variance") + 1e-5)


def activate(kind, x, get, name):
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "prelu":
        return np.where(x >= 0, x, x * get(name + ".alpha"))
    if kind == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    p = 1 / (1 + np.exp(-standardise(x, get, name)))  # dice
    return x * (p + (1 - p) * get(name + ".alpha"))


def calibrated(stage, z):
    """A logit after the run's calibration, if it has one."""
    if stage["calibration"] is None:
        return z
    how = stage["calibration"]["map"]
    if how["method"] == "platt":
        z = how["slope"] * z + how["intercept"]
    elif how["method"] == "temperature":
        z = z / how["temperature"]
    elif how["method"] == "isotonic":
        x, y = np.array(how["knots"], dtype=np.float64).T
        outside = np.minimum(z - x[0], 0) + np.maximum(z - x[-1], 0)
        z = np.interp(z, x, y) + 1e-4 * outside
    return z + stage["calibration"]["log_keep_rate"]


def log_sigmoid(z):
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def compose(card, logits):
    """The columns of `predict`, from logits by stage: sums of log probabilities over disjoint events."""
    pairs = {name: {True: log_sigmoid(z), False: log_sigmoid(-z)} for name, z in logits.items()}
    out = {}
    for target in card["stages"] + card["outcomes"]:
        terms = [sum(pairs[stage][reached] for stage, reached in event) for event in target["events"]]
        out[target["columns"][0]] = np.exp(np.minimum(np.logaddexp.reduce(terms, axis=0), 0))
    for stage in card["stages"]:
        given = pairs[stage["name"]][True]
        if card["composition"] == "quotient" and stage["after"]:
            given = given - pairs[stage["after"]][True]
        out[stage["columns"][1]] = np.exp(given)
    return out


def main(folder, data, predictions=None):
    export, rows = Export(folder), read_rows(data)
    if export.card["encoder"]["kind"] != "concat":
        raise SystemExit(f"encoder `{export.card['encoder']['kind']}` mixes the features; take score_onnx.py")
    weights = load_file(export.folder / export.card["files"]["weights"])
    logits = {s["name"]: tower(s, weights, dense(export, weights, s, rows)).astype(np.float64) for s in export.card["stages"]}
    logits = {s["name"]: calibrated(s, logits[s["name"]]) for s in export.card["stages"]}
    probabilities = compose(export.card, logits)
    for name in export.card["outputs"]:
        print(f"{name}: mean {probabilities[name].mean():.6f} over {len(rows)} rows")
    if predictions:
        compare(probabilities, predictions, export.card)


if __name__ == "__main__":
    main(*sys.argv[1:])
