"""The same model on NVIDIA Triton through PyTriton, with its dynamic batching. `RUN=… ONNX=… python pytriton_server.py PORT`."""

import os
import sys

import numpy as np
import onnxruntime as ort
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from model import BAG, Shape

shape = Shape(os.environ["RUN"])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["ONNX"], options, providers=["CPUExecutionProvider"])


@batch
def infer(user, items, numbers):
    # Requests of several users may come as one batch: one run for each user.
    starts = np.flatnonzero(np.r_[True, (user[1:] != user[:-1]).any(1)])
    ends = np.r_[starts[1:], len(user)]
    runs = [session.run(None, {"user": user[a : a + 1], "items": items[a:b], "numbers": numbers[a:b]})[0] for a, b in zip(starts, ends)]
    return {"p": np.concatenate(runs)}


port = int(sys.argv[1])
config = TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2, allow_grpc=False, allow_metrics=False)
with Triton(config=config) as server:
    width = lambda ids, bags: (ids + BAG * bags,)
    server.bind(
        model_name="funnel",
        infer_func=infer,
        inputs=[
            Tensor(name="user", dtype=np.int64, shape=width(shape.user_ids, shape.user_bags)),
            Tensor(name="items", dtype=np.int64, shape=width(shape.row_ids, shape.row_bags)),
            Tensor(name="numbers", dtype=np.float32, shape=(shape.numbers,)),
        ],
        outputs=[Tensor(name="p", dtype=np.float32, shape=(2 * len(shape.stages),))],
        config=ModelConfig(max_batch_size=1024, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    server.serve()
