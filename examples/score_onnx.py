"""Scores raw rows with an exported ONNX model, and compares with what `esmm-funnel predict` gave.

    pip install numpy onnxruntime pyarrow
    python score_onnx.py EXPORT ROWS.csv [PREDICTIONS.parquet]
"""

import sys

import numpy as np
import onnxruntime

from export_inputs import Export, compare, read_rows


def inputs(export, rows):
    """The graph's inputs, by the card."""
    out = {}
    for feature in export.card["features"]:
        if feature["kind"] == "number":
            out[feature["input"]] = np.array([export.number(feature, row) for row in rows], np.float32)
        elif feature["kind"] in ("bag", "sequence"):
            out[feature["input"]], out[feature["input_weights"]] = export.bag(feature, rows)
        else:
            out[feature["input"]] = np.array([export.id_row(feature, row) for row in rows], np.int64)
    return out


def main(folder, data, predictions=None):
    export, rows = Export(folder), read_rows(data)
    session = onnxruntime.InferenceSession(str(export.folder / export.card["files"]["onnx"]), providers=["CPUExecutionProvider"])
    names = export.card["outputs"]
    probabilities = dict(zip(names, session.run(names, inputs(export, rows))))
    for name in names:
        print(f"{name}: mean {probabilities[name].mean():.6f} over {len(rows)} rows")
    if predictions:
        compare(probabilities, predictions, export.card)


if __name__ == "__main__":
    main(*sys.argv[1:])
