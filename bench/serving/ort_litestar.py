"""ONNX Runtime behind Litestar (msgspec) on uvicorn. `RUN=… ONNX=… uvicorn ort_litestar:app`."""

import os

import msgspec
import numpy as np
import onnxruntime as ort
from litestar import Litestar, post

from model import Shape, columns

shape = Shape(os.environ["RUN"])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["ONNX"], options, providers=["CPUExecutionProvider"])
names = columns(shape)


class Request(msgspec.Struct):
    user: list[int]
    items: list[list[int]]
    numbers: list[list[float]]


@post("/score", sync_to_thread=False, status_code=200)
def score(data: Request) -> dict:
    feed = {"user": np.array([data.user]), "items": np.array(data.items), "numbers": np.array(data.numbers, np.float32)}
    return {"rows": [dict(zip(names, row)) for row in session.run(None, feed)[0].tolist()]}


app = Litestar([score])
