"""Makes esmm_torch.json: short training runs in plain PyTorch (float32, CPU), written from the published formulas and the documented update
rules, to be repeated step by step from the same weights and batches (`plugins/tests/golden_esmm.rs`).

    pip install torch numpy
    python tests/golden/esmm_torch.py

Input of every tower, 21 columns: the row's `item` and `shop` (tables of 12 and 7 rows, dim 4), its bag `tags` (in the table of shops,
weighted mean), its number `price`; then the user's `home` (a shop) and bag `seen` (items, plain sum). Users are shared by the rows of a batch.

Loss: for each target the binary cross-entropy of its probability over all rows, (sum over rows of row weight * bce) / rows * target weight.
Dense parameters are moved by torch.optim, tables by hand: only the rows of the batch, with the number of the step in Adam's bias correction.
"""
import json, math, os
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

TABLES, DIM, HIDDEN, ROWS, WIDTH = {"item": 12, "shop": 7}, 4, [6, 3], 16, 21
COLUMNS = {"item": (0, 4), "shop": (4, 8), "tags": (8, 12), "price": (12, 13), "home": (13, 17), "seen": (17, 21)}

FEATURES = """
[entity.user]
key = "user_id"

[feature.item]
kind = "id"

[feature.shop]
kind = "id"

[feature.tags]
kind = "bag"
weights = "tags_w"
pooling = "mean"
share_with = "shop"

[feature.price]
kind = "number"
transform = "none"

[feature.home]
kind = "id"
share_with = "shop"
of = "user"

[feature.seen]
kind = "bag"
pooling = "sum"
share_with = "item"
of = "user"
"""


# ---- Batches: the same for all runs.

def make_batch(rng, size):
    users = 5
    # Few ids a step, so that many rows rest for a while; item 11 is never seen.
    items, shops = rng.choice(11, 5, replace=False), rng.choice(7, 4, replace=False)

    def bags(n, ids, weighted):
        lengths = rng.integers(0, 4, n)
        return {"offsets": [0, *np.cumsum(lengths).tolist()],
                "rows": rng.choice(ids, lengths.sum()).tolist(),
                "weights": np.round(rng.uniform(.1, 2, lengths.sum()), 2).tolist() if weighted else []}

    def flag(parent, rate):
        return parent & (rng.random(size) < rate)
    click = flag(np.ones(size, bool), .5)
    cart = flag(click, .6)
    checkout = flag(cart, .6)
    labels = {"click": click, "cart": cart, "checkout": checkout, "paid": flag(checkout, .6), "purchase": flag(click, .4)}
    return {
        "item": rng.choice(items, size).tolist(), "shop": rng.choice(shops, size).tolist(), "tags": bags(size, shops, True),
        "price": np.round(rng.normal(size=size), 3).tolist(),
        "user": rng.integers(0, users, size).tolist(), "home": rng.choice(shops, users).tolist(), "seen": bags(users, items, False),
        "labels": {k: v.astype(int).tolist() for k, v in labels.items()},
        "row_weights": np.round(rng.uniform(.2, 3, size), 2).tolist(),
    }


# ---- The model.

class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [WIDTH, *HIDDEN]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.head = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)[:, 0]


def pooled(bag, table, mean):
    rows, offsets = torch.tensor(bag["rows"]), torch.tensor(bag["offsets"])
    weights = torch.tensor(bag["weights"]) if bag["weights"] else torch.ones(len(rows))
    total = F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)
    if not mean:
        return total
    sums = torch.stack([weights[a:b].sum() for a, b in zip(offsets, offsets[1:])])
    return total / torch.where(sums == 0, 1, sums)[:, None]


def embedded(batch, tables):
    item, shop = tables["item"], tables["shop"]
    user = torch.cat([F.embedding(torch.tensor(batch["home"]), shop), pooled(batch["seen"], item, mean=False)], 1)
    return torch.cat([F.embedding(torch.tensor(batch["item"]), item), F.embedding(torch.tensor(batch["shop"]), shop),
                      pooled(batch["tags"], shop, mean=True), torch.tensor(batch["price"])[:, None],
                      user[torch.tensor(batch["user"])]], 1)


def touched(batch):
    return {"item": sorted({*batch["item"], *batch["seen"]["rows"]}),
            "shop": sorted({*batch["shop"], *batch["tags"]["rows"], *batch["home"]})}


# ---- Probabilities over all rows, from the conditional ones.

def ctr_cvr(p):
    return {"click": p["click"], "purchase": p["click"] * p["purchase"]}


def chain(p):
    out, product = {}, 1
    for stage in ["click", "cart", "checkout", "paid"]:
        product = product * p[stage]
        out[stage] = product
    return out


def two_ways(p):
    return {"click": p["click"], "cart": p["click"] * p["cart"],
            "purchase": p["click"] * (p["cart"] * p["after_cart"] + (1 - p["cart"]) * p["direct"])}


# ---- Updates.

def dense_optimizer(o, towers, bias):
    groups = [{"params": [p for t in towers.values() for p in t.parameters()], "weight_decay": o.get("l2", 0)},
              {"params": [bias], "weight_decay": 0}]
    if o["kind"] == "adam":
        return torch.optim.Adam(groups, lr=o["lr"])
    if o["kind"] == "adagrad":
        return torch.optim.Adagrad(groups, lr=o["lr"], initial_accumulator_value=o["initial_accumulator"])
    return torch.optim.SGD(groups, lr=o["lr"])


@torch.no_grad()
def move_rows(o, table, state, rows, step, lr):
    g = table.grad[rows] + o.get("l2", 0) * table[rows]
    if o["kind"] == "adam":
        m, v = state.setdefault("m", torch.zeros_like(table)), state.setdefault("v", torch.zeros_like(table))
        m[rows] = .9 * m[rows] + .1 * g
        v[rows] = .999 * v[rows] + .001 * g ** 2
        table[rows] -= lr * (m[rows] / (1 - .9 ** step)) / (torch.sqrt(v[rows] / (1 - .999 ** step)) + 1e-8)
    elif o["kind"] == "adagrad":
        sums = state.setdefault("sums", torch.full_like(table, o.get("initial_accumulator", 0)))
        sums[rows] += g ** 2
        table[rows] -= lr * g / (torch.sqrt(sums[rows]) + 1e-10)
    else:
        table[rows] -= lr * g


def schedule(train, step, steps):
    warmup = train.get("warmup_steps", 0)
    if step <= warmup:
        return step / warmup
    if train.get("decay") == "cosine":
        last, done = train["final_lr_fraction"], (step - warmup) / (steps - warmup)
        return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2
    return 1


# ---- A run.

def named(towers, bias, sets):
    tensors = {"bias": bias}
    for stage, tower in towers.items():
        # The convention of the names' owner: weights are [in, out].
        tensors |= {f"tower.{stage}.{k}": v.T if v.ndim == 2 else v for k, v in tower.state_dict().items()}
    for prefix, tables in sets.items():
        tensors |= {f"table.{prefix}{name}": t for name, t in tables.items()}
    exact = lambda t: [float(str(x)) for x in t.detach().contiguous().numpy().ravel()]   # the shortest text that is the same float32
    return {k: {"shape": list(t.shape), "values": exact(t)} for k, t in tensors.items()}


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def run(name, stages, compose, batches, seed, train, embedding, row_weights=False):
    """`stages`: per stage its keys in the spec, `label` among them; `compose`: conditional probabilities to those of the targets."""
    torch.manual_seed(seed)
    sets = [f"{s}." for s in stages] if embedding.get("per_stage") else [""]
    sets = {prefix: {t: nn.Parameter(torch.randn(n, DIM) * .3) for t, n in TABLES.items()} for prefix in sets}
    towers = {s: Tower() for s in stages}
    bias = nn.Parameter(torch.linspace(-.5, .4, len(stages)))
    initial = named(towers, bias, sets)
    optimizer = dense_optimizer(train["optimizer"], towers, bias)
    states = {(prefix, t): {} for prefix in sets for t in TABLES}
    losses = []
    for step, batch in enumerate(batches, 1):
        for tensors in sets.values():
            for t in tensors.values():
                t.grad = None
        optimizer.zero_grad()
        inputs = {prefix: embedded(batch, tables) for prefix, tables in sets.items()}
        p = {}
        for i, (stage, tower) in enumerate(towers.items()):
            x = inputs[f"{stage}." if len(sets) > 1 else ""]
            for feature in stages[stage].get("features", {}).get("without", []):
                a, b = COLUMNS[feature]
                x = torch.cat([x[:, :a], torch.zeros(len(x), b - a), x[:, b:]], 1)
            p[stage] = torch.sigmoid((tower(x) + bias[i]).double())   # from here on in float64
        terms = {}
        for target, q in compose(p).items():
            y = torch.tensor(batch["labels"][target]).double()
            bce = F.binary_cross_entropy(q, y, reduction="none")
            if row_weights:
                bce = bce * torch.tensor(batch["row_weights"]).double()
            terms[target] = bce.mean() * stages.get(target, {}).get("weight", 1)
        sum(terms.values()).backward()
        losses.append({k: t.item() for k, t in terms.items()})

        factor = schedule(train, step, len(batches))
        if train.get("clip_norm"):
            nn.utils.clip_grad_norm_([bias, *(p for t in towers.values() for p in t.parameters())], train["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = train["optimizer"]["lr"] * factor
        optimizer.step()
        rows = touched(batch)
        for (prefix, t), state in states.items():
            o = embedding["optimizer"]
            move_rows(o, sets[prefix][t], state, rows[t], step, o["lr"] * factor)

    spec = f'[funnel]\nrow = "impression"\n\n[defaults]\ntower = {toml({"kind": "mlp", "hidden": HIDDEN})}\n'
    for stage, keys in stages.items():
        spec += f"\n[stage.{stage}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in keys.items())
    if compose is two_ways:
        spec += '\n[outcome.purchase]\nany_of = ["after_cart", "direct"]\n'
    spec += '\n[data]\nsource = { kind = "synthetic", rows = 100 }\n' + ('weight = "row_weights"\n' if row_weights else "") + FEATURES
    spec += f"\n[embedding]\ndim = {DIM}\n" + "".join(f"{k} = {toml(v)}\n" for k, v in embedding.items())
    spec += "\n[train]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in train.items())
    return {"name": name, "spec": spec, "losses": losses, "initial": initial, "final": named(towers, bias, sets)}


def main():
    rng = np.random.default_rng(2018)
    batches = [make_batch(rng, ROWS if step % 7 != 6 else 11) for step in range(20)]
    click, purchase = {"after": "impression", "label": "click"}, {"after": "click", "label": "purchase"}
    adam, adagrad, sgd = ({"kind": k, "lr": lr} for k, lr in [("adam", .02), ("adagrad", .05), ("sgd", .5)])
    runs = [
        run("adam", {"click": click, "purchase": purchase}, ctr_cvr, batches, 1, {"optimizer": adam}, {"optimizer": adam | {"lr": .05}}),
        run("adagrad tables, l2 on both, row weights", {"click": click, "purchase": purchase}, ctr_cvr, batches, 2,
            {"optimizer": adam | {"l2": .05}}, {"optimizer": adagrad | {"l2": .1}}, row_weights=True),
        run("clipping, warm-up, decay, plain gradient steps", {"click": click, "purchase": purchase | {"weight": 1.5}}, ctr_cvr, batches, 3,
            {"optimizer": sgd | {"lr": 2.0, "l2": .02}, "clip_norm": .2, "warmup_steps": 6, "decay": "cosine", "final_lr_fraction": .1},
            {"optimizer": adam | {"l2": .03}}, row_weights=True),
        run("chain of four, one tower without some features",
            {"click": click, "cart": {"after": "click", "label": "cart"}, "checkout": {"after": "cart", "label": "checkout"},
             "paid": {"after": "checkout", "label": "paid", "features": {"without": ["price", "seen"]}}}, chain, batches[:5], 4,
            {"optimizer": adagrad | {"initial_accumulator": .01}}, {"optimizer": sgd | {"lr": 5.0}}),
        run("two ways to one outcome, tables per stage",
            {"click": click, "cart": {"after": "click", "label": "cart"}, "after_cart": {"after": "cart", "label": "purchase"},
             "direct": {"after": {"stage": "click", "unless": "cart"}, "label": "purchase"}}, two_ways, batches[:5], 5,
            {"optimizer": adam}, {"per_stage": True, "optimizer": adagrad | {"initial_accumulator": .001}}, row_weights=True),
    ]
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "esmm_torch.json")
    with open(out, "w") as file:
        json.dump({"torch": torch.__version__.split("+")[0], "batches": batches, "runs": runs}, file, separators=(",", ":"))


main()
