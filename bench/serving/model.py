"""The architecture of a run, for servers that are measured beside `esmm-funnel serve`: the same fields, width and layers, with random weights.

What these servers compute is what the run's model computes for a row: embeddings of all single ids, mean-pooled bags, numbers, one
perceptron a stage, and the products along the chain. They are given encoded ids, so that they need no vocabulary.
"""

import json
import pathlib
import tomllib

BAG = 8  # values of a bag in a request


class Shape:
    """Counts of a run's fields: `[user, row]` ids and bags, numbers; rows of a table; widths."""

    def __init__(self, run):
        run = pathlib.Path(run)
        layout = json.loads((run / "features" / "features.json").read_text())["layout"]
        groups = layout["groups"]
        self.row_ids, self.row_bags, self.numbers = len(groups[0]["ids"]), len(groups[0]["bags"]), len(groups[0]["numbers"])
        self.user_ids = sum(len(g["ids"]) for g in groups[1:])
        self.user_bags = sum(len(g["bags"]) for g in groups[1:])
        spec = tomllib.loads((run / "resolved.toml").read_text())
        self.dim = spec["embedding"]["dim"]
        self.stages = list(spec["stage"])
        towers = [spec["stage"][s]["tower"]["hidden"] for s in self.stages]
        self.hidden = towers[0]
        self.rows = 100_000
        self.user_width = (self.user_ids + self.user_bags) * self.dim
        self.row_width = (self.row_ids + self.row_bags) * self.dim + self.numbers

    def bodies(self, candidates, count, rng):
        """Requests in the form that the peers take: encoded ids."""
        ids = lambda n: rng.integers(0, self.rows, n).tolist()
        for _ in range(count):
            row = lambda: ids(self.row_ids + BAG * self.row_bags)
            yield json.dumps(
                {
                    "user": ids(self.user_ids + BAG * self.user_bags),
                    "items": [row() for _ in range(candidates)],
                    "numbers": [[float(rng.random()) for _ in range(self.numbers)] for _ in range(candidates)],
                }
            )


def torch_model(shape):
    import torch

    class Funnel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.table = torch.nn.Embedding(shape.rows, shape.dim)
            width, self.towers = shape.user_width + shape.row_width, torch.nn.ModuleList()
            for _ in shape.stages:
                layers, last = [], width
                for hidden in shape.hidden:
                    layers += [torch.nn.Linear(last, hidden), torch.nn.ReLU()]
                    last = hidden
                self.towers.append(torch.nn.Sequential(*layers, torch.nn.Linear(last, 1)))

        def embed(self, ids, singles, bags):
            x = self.table(ids)
            parts = [x[:, :singles].flatten(1)]
            for b in range(bags):
                parts.append(x[:, singles + b * BAG : singles + (b + 1) * BAG].mean(1))
            return torch.cat(parts, 1)

        def forward(self, user, items, numbers):
            u = self.embed(user, shape.user_ids, shape.user_bags).expand(items.shape[0], -1)
            x = torch.cat([u, self.embed(items, shape.row_ids, shape.row_bags), numbers], 1)
            p, out = None, []
            for tower in self.towers:
                given = torch.sigmoid(tower(x)).squeeze(1)
                p = given if p is None else p * given
                out += [p, given]
            return torch.stack(out, 1)

    return Funnel().eval()


def to_onnx(shape, path):
    import torch

    args = (
        torch.zeros(1, shape.user_ids + BAG * shape.user_bags, dtype=torch.int64),
        torch.zeros(3, shape.row_ids + BAG * shape.row_bags, dtype=torch.int64),
        torch.zeros(3, shape.numbers),
    )
    names = ["user", "items", "numbers"]
    axes = {"items": {0: "n"}, "numbers": {0: "n"}, "p": {0: "n"}}
    torch.onnx.export(torch_model(shape), args, path, input_names=names, output_names=["p"], dynamic_axes=axes, dynamo=False)


def columns(shape):
    previous, out = "impression", []
    for stage in shape.stages:
        out += [f"p_{stage}", f"p_{stage}_given_{previous}"]
        previous = stage
    return out
