"""FastAPI and PyTorch on uvicorn, as its documentation shows: what many have. `RUN=… uvicorn fastapi_torch:app`."""

import os

import torch
from fastapi import FastAPI
from pydantic import BaseModel

from model import Shape, columns, torch_model

torch.set_num_threads(1)
shape = Shape(os.environ["RUN"])
model, names = torch_model(shape), columns(shape)
app = FastAPI()


class Request(BaseModel):
    user: list[int]
    items: list[list[int]]
    numbers: list[list[float]]


@app.post("/score")
def score(request: Request):
    with torch.inference_mode():
        p = model(torch.tensor([request.user]), torch.tensor(request.items), torch.tensor(request.numbers))
    return {"rows": [dict(zip(names, row)) for row in p.tolist()]}
