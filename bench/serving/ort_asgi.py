"""ONNX Runtime behind a bare ASGI application: no framework, orjson both ways. `RUN=… ONNX=… granian --interface asgi ort_asgi:app`."""

import os

import numpy as np
import onnxruntime as ort
import orjson

from model import Shape, columns

shape = Shape(os.environ["RUN"])
options = ort.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
session = ort.InferenceSession(os.environ["ONNX"], options, providers=["CPUExecutionProvider"])
names = columns(shape)
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = orjson.loads(body)
    feed = {
        "user": np.array([asked["user"]], np.int64),
        "items": np.array(asked["items"], np.int64),
        "numbers": np.array(asked["numbers"], np.float32),
    }
    p = session.run(None, feed)[0].tolist()
    answer = orjson.dumps({"rows": [dict(zip(names, row)) for row in p]})
    await send(HEAD)
    await send({"type": "http.response.body", "body": answer})
