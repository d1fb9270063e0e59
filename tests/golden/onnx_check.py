"""Checks an exported model from outside: `onnx.checker`, and onnxruntime on batches of one row and of none.

    pip install numpy onnx onnxruntime pyarrow
    python onnx_check.py EXPORT
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

folder = pathlib.Path(sys.argv[1])
card = json.loads((folder / "card.json").read_text())
path = str(folder / card["files"]["onnx"])
onnx.checker.check_model(path, full_check=True)
model = onnx.load(path, load_external_data=False)
assert [(o.domain, o.version) for o in model.opset_import] == [("", card["onnx"]["opset"])]
assert [i.name for i in model.graph.input] == [i["name"] for i in card["onnx"]["inputs"]]
assert [o.name for o in model.graph.output] == card["outputs"]
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
for rows in (1, 3):
    # Row 1 of every table, a bag of one value, and no number: what a row with nothing in it looks like.
    feeds = {}
    for i in card["onnx"]["inputs"]:
        shape = [rows if dim == "batch" else 1 for dim in i["shape"]]
        value = 1 if i["type"] == "int64" else (0.0 if len(shape) > 1 else float("nan"))
        feeds[i["name"]] = np.full(shape, value, i["type"])
    for name, p in zip(card["outputs"], session.run(None, feeds)):
        assert p.shape == (rows,) and p.dtype == np.float32 and np.isfinite(p).all(), (name, p)
        assert np.allclose(p, p[0]), (name, p)
print(f"{folder}: checked, {len(model.graph.node)} nodes, opset {card['onnx']['opset']}")
