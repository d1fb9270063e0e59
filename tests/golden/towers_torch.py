"""Makes towers_torch.json: one forward and backward pass of every tower and encoder in plain PyTorch (float32, CPU), written from the published
formulas, to be repeated from the same weights and input (`plugins/src/towers/tests.rs`).

    pip install torch
    python tests/golden/towers_torch.py

Input, 16 columns: what is the row's own (two fields of dim 4, one number), then what its user shares (one field, three numbers). Five rows,
three users. Encoders get two such inputs, one a stage. The gradients are those of the sum of all outputs by the parts of the inputs.
Linear weights are [in, out].
"""
import json, os
import torch
import torch.nn.functional as F

torch.manual_seed(5)
PARTS = [{"fields": 2, "dim": 4, "numbers": 1}, {"fields": 1, "dim": 4, "numbers": 3}]
WIDTH, INDEX = 16, torch.tensor([2, 0, 1, 0, 2])


def draw(*shape, scale=1.0):
    """Few digits, so that the file is small and the numbers in it are the numbers used."""
    return (torch.randn(shape) * scale * 1e3).round() / 1e3


def packed(t):
    return {"shape": list(t.shape), "values": [float(f"{v:.7g}") for v in t.detach().flatten().tolist()]}


INPUTS = [[draw(5, 9).requires_grad_(), draw(3, 7).requires_grad_()] for _ in range(2)]


def dense(parts):
    return torch.cat([parts[0], parts[1][INDEX]], 1)


def fields(parts):
    """[B, F, D]"""
    return torch.cat([parts[0][:, :8].reshape(5, 2, 4), parts[1][:, :4][INDEX].reshape(5, 1, 4)], 1)


class Weights:
    """Draws a weight when it is first asked for, and keeps it by name."""

    def __init__(self):
        self.named = {}

    def __call__(self, name, *shape):
        return self.named.setdefault(name, draw(*shape, scale=1 / shape[0] ** 0.5 if len(shape) > 1 else 0.3))

    def linear(self, name, x, out, bias=True):
        y = x @ self(f"{name}.weight", x.shape[-1], out)
        return y + self(f"{name}.bias", out) if bias else y

    def mlp(self, prefix, x, hidden, activation="relu", norm=False):
        for i, width in enumerate(hidden):
            x = self.linear(f"{prefix}layers.{i}", x, width)
            if norm:
                x = F.layer_norm(x, [width], self(f"{prefix}norms.{i}.gamma", width), self(f"{prefix}norms.{i}.beta", width))
            if activation == "prelu":
                x = F.prelu(x, self(f"{prefix}slopes.{i}.alpha", width))
            else:
                x = {"relu": torch.relu, "gelu": F.gelu}[activation](x)
        return x

    def head(self, x, name="head"):
        return self.linear(name, x, 1, bias=False)[:, 0]


CASES = []


def case(of, plugin, name, settings, network):
    weights = Weights()
    inputs = INPUTS[:1] if of == "tower" else INPUTS
    outputs = network(weights, *inputs)
    outputs = [outputs] if of == "tower" else outputs
    leaves = [part for parts in inputs for part in parts]
    gradients = torch.autograd.grad(sum(o.sum() for o in outputs), leaves)
    CASES.append({
        "of": of, "plugin": plugin, "name": name, "settings": settings,
        "weights": {k: packed(v) for k, v in weights.named.items()},
        "outputs": [packed(o) for o in outputs],
        "gradients": [[packed(gradients[2 * i]), packed(gradients[2 * i + 1])] for i in range(len(inputs))],
    })


# ---- Towers.

for activation, norm in [("relu", False), ("prelu", False), ("gelu", True), ("prelu", True)]:
    case("tower", "mlp", f"mlp, {activation}{', layer norm' * norm}",
         f'hidden = [6, 4]\nactivation = "{activation}"\nlayer_norm = {str(norm).lower()}',
         lambda w, x: w.head(w.mlp("", dense(x), [6, 4], activation, norm)))
case("tower", "mlp", "mlp without hidden layers", "hidden = []", lambda w, x: w.head(dense(x)))


def dcn_v2(w, x, rank, structure, hidden):
    x0 = dense(x)
    xl = x0
    for layer in range(2):
        product = xl if rank is None else w.linear(f"cross.{layer}.down", xl, rank, bias=False)
        xl = x0 * w.linear(f"cross.{layer}.up", product, WIDTH) + xl
    if structure == "stacked":
        return w.head(w.mlp("deep.", xl, hidden))
    return w.head(torch.cat([xl, w.mlp("deep.", x0, hidden)], 1) if hidden else xl)


for rank, structure, hidden in [(None, "parallel", [6, 4]), (3, "stacked", [6]), (None, "parallel", []), (2, "parallel", [5])]:
    case("tower", "dcn_v2", f"dcn_v2, rank {rank}, {structure}, {hidden}",
         f'cross_layers = 2\nstructure = "{structure}"\nhidden = {hidden}' + (f"\nrank = {rank}" if rank else ""),
         lambda w, x: dcn_v2(w, x, rank, structure, hidden))


def final_mlp(w, x, heads):
    one, two = w.mlp("first.", dense(x), [7, 6]), w.mlp("second.", dense(x), [4])
    fusion = w("fusion", heads, 6 // heads, 4 // heads)
    bilinear = torch.einsum("bhi,hij,bhj->b", one.reshape(5, heads, -1), fusion, two.reshape(5, heads, -1))
    return w.head(torch.cat([one, two], 1)) + bilinear


for heads in [1, 2]:
    case("tower", "final_mlp", f"final_mlp, {heads} heads", f"first = [7, 6]\nsecond = [4]\nheads = {heads}", lambda w, x: final_mlp(w, x, heads))


def autoint(w, x, hidden):
    e = fields(x)
    for layer in range(2):
        q, k, v, r = (w.linear(f"attention.{layer}.{name}", e, 6, bias=False) for name in ["query", "key", "value", "residual"])
        heads = []
        for h in range(2):
            part = slice(3 * h, 3 * h + 3)
            heads.append(torch.softmax(q[..., part] @ k[..., part].transpose(1, 2), 2) @ v[..., part])
        e = torch.relu(torch.cat(heads, 2) + r)
    return w.head(e.reshape(5, 18)) + w.head(w.mlp("deep.", dense(x), hidden), "deep.head")


for hidden in [[], [5]]:
    case("tower", "autoint", f"autoint, {hidden}", f"layers = 2\nheads = 2\nhead_dim = 3\nhidden = {hidden}", lambda w, x: autoint(w, x, hidden))

# ---- Encoders.


def mix(w, gate, x, experts):
    weights = torch.softmax(w.linear(gate, x, len(experts), bias=False), 1)
    return sum(weights[:, i:i + 1] * e for i, e in enumerate(experts))


def mmoe(w, *inputs):
    xs = [dense(x) for x in inputs]
    # Each stage has an input of its own here: what the stages share sees the mean.
    experts = [w.mlp(f"experts.experts.{i}.", sum(xs) / 2, [6, 4]) for i in range(3)]
    return [mix(w, f"gates.{t}", x, experts) for t, x in enumerate(xs)]


case("encoder", "mmoe", "mmoe", "experts = 3\nhidden = [6, 4]", mmoe)


def ple(w, levels, *inputs):
    states = [dense(x) for x in inputs]
    shared = sum(states) / 2
    for level in range(levels):
        common = [w.mlp(f"levels.{level}.shared.experts.{i}.", shared, [4]) for i in range(2)]
        own = [[w.mlp(f"levels.{level}.stages.{t}.experts.0.", h, [4])] for t, h in enumerate(states)]
        mixed = [mix(w, f"levels.{level}.gates.{t}", h, own[t] + common) for t, h in enumerate(states)]
        if level + 1 < levels:
            shared = mix(w, f"levels.{level}.shared_gate", shared, own[0] + own[1] + common)
        states = mixed
    return states


for levels in [1, 2]:
    case("encoder", "ple", f"ple, {levels} levels", f"levels = {levels}\nshared_experts = 2\nstage_experts = 1\nhidden = [4]",
         lambda w, *inputs: ple(w, levels, *inputs))

# ---- Write.

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "towers_torch.json")
inputs = [[{**packed(own), "index": None}, {**packed(shared), "index": INDEX.tolist()}] for own, shared in INPUTS]
with open(path, "w") as f:
    json.dump({"parts": PARTS, "inputs": inputs, "cases": CASES}, f, separators=(",", ":"))
    f.write("\n")
