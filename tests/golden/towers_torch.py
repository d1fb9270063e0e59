"""Makes towers_torch.json: one forward and backward pass of every tower and encoder in plain PyTorch (float32, CPU), written from the published
formulas, to be repeated from the same weights and input (`plugins/src/towers/tests.rs`).

    pip install torch
    python tests/golden/towers_torch.py

Input, 16 columns: what is the row's own (two fields of dim 4, one number), then what its user shares (one field, three numbers). Five rows,
three users. Encoders get two such inputs, one a stage. The gradients are those of the sum of all outputs by the parts of the inputs.
Linear weights are [in, out].

The cases under "more" have batches of their own, with what else a tower may ask for: vectors from tables of its own (dim 1, for the same fields), a
sequence of the user's (in the last field it stands pooled, the first is its target), and the upstream tower's hidden layer. Batches marked as
training come one after the other, before the one that is scored. Their gradients are those of the logits' sum weighted by 1, -2, 0.5, 3, -1.
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
         f'hidden = [6, 4]\nactivation = "{activation}"\nnorm = "{"layer" if norm else "none"}"',
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

# ---- Batches with more in them.

WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0])


class Sequence:
    """Users' values, ragged: `values` [T, D], `lengths` [users]."""

    def __init__(self, lengths, shared):
        self.lengths, self.shared = lengths, shared
        self.values = draw(sum(lengths), 4).requires_grad_()
        self.index = INDEX if shared else torch.arange(5)

    def of_row(self, row):
        member = int(self.index[row])
        first = sum(self.lengths[:member])
        return list(range(first, first + self.lengths[member]))


class Batch:
    def __init__(self, lengths=(2, 0, 3), shared=True):
        self.parts = [draw(5, 9).requires_grad_(), draw(3, 7).requires_grad_()]
        self.own = [draw(5, 2).requires_grad_(), draw(3, 1).requires_grad_()]
        self.sequence = Sequence(lengths, shared)
        self.upstream = draw(5, 3).requires_grad_()

    def packed(self):
        rows = [self.sequence.of_row(row) for row in range(5)]
        parts = lambda two: [{**packed(two[0]), "index": None}, {**packed(two[1]), "index": INDEX.tolist()}]
        sequence = {**packed(self.sequence.values), "value": sum(rows, []) if self.sequence.shared else None,
                    "row": [row for row, values in enumerate(rows) for _ in values]}
        return {"parts": parts(self.parts), "own": parts(self.own), "sequence": sequence, "upstream": packed(self.upstream)}

    def leaves(self):
        return self.parts + self.own + [self.upstream, self.sequence.values]


class Moments:
    """Running mean and variance, as torch.nn.BatchNorm1d keeps them; they start anywhere."""

    def __init__(self):
        self.named, self.training = {}, False

    def normalise(self, name, x):
        mean = self.named.setdefault(f"{name}.mean", draw(x.shape[1], scale=0.3))
        variance = self.named.setdefault(f"{name}.variance", 1 + draw(x.shape[1]).abs())
        return F.batch_norm(x, mean, variance, training=self.training, momentum=0.1, eps=1e-5)


class Network(Weights):
    """With batch norm and Dice."""

    def __init__(self):
        super().__init__()
        self.moments = Moments()

    def deep(self, prefix, x, hidden, activation="relu", norm="none"):
        for i, width in enumerate(hidden):
            x = self.linear(f"{prefix}layers.{i}", x, width, bias=norm != "batch")
            if norm == "batch":
                name = f"{prefix}batch_norms.{i}"
                x = self.moments.normalise(f"{name}.running", x) * self(f"{name}.gamma", width) + self(f"{name}.beta", width)
            if norm == "layer":
                x = F.layer_norm(x, [width], self(f"{prefix}norms.{i}.gamma", width), self(f"{prefix}norms.{i}.beta", width))
            if activation == "dice":
                p = torch.sigmoid(self.moments.normalise(f"{prefix}dices.{i}.running", x))
                x = p * x + (1 - p) * self(f"{prefix}dices.{i}.alpha", width) * x
            else:
                x = torch.relu(x)
        return x


MORE = []


def more(plugin, name, settings, network, batches=None, training=False):
    """network(w, batch) gives logits and the hidden layer for later stages, or None."""
    weights, batches = Network(), batches or [Batch()]
    network(weights, Batch())  # Draws the weights.
    start = {k: packed(v) for k, v in [*weights.named.items(), *weights.moments.named.items()]}
    steps = []
    for batch in batches:
        weights.moments.training = training
        logits, hidden = network(weights, batch)
        grads = torch.autograd.grad((logits * WEIGHTS).sum(), batch.leaves(), allow_unused=True)
        steps.append({"batch": batch.packed(), "logits": packed(logits), "hidden": None if hidden is None else packed(hidden),
                      "gradients": [None if g is None else packed(g) for g in grads]})
    weights.moments.training = False
    scored, _ = network(weights, batches[0])
    MORE.append({"plugin": plugin, "name": name, "settings": settings, "weights": start, "training": training, "steps": steps,
                 "after": {k: packed(v) for k, v in weights.moments.named.items()}, "scored": packed(scored)})


def mlp(w, b, hidden, activation, norm):
    h = w.deep("", dense(b.parts), hidden, activation, norm)
    return w.head(h), h


for activation, norm in [("relu", "batch"), ("dice", "none"), ("dice", "batch")]:
    for training in [True, False]:
        more("mlp", f"mlp, {activation}, norm {norm}, {'training' if training else 'scoring'}",
             f'hidden = [6, 4]\nactivation = "{activation}"\nnorm = "{norm}"', lambda w, b: mlp(w, b, [6, 4], activation, norm),
             [Batch() for _ in range(3)], training)


def first_order(w, name, b):
    numbers = torch.cat([b.parts[0][:, 8:], b.parts[1][:, 4:][INDEX]], 1)
    return b.own[0].sum(1) + b.own[1][INDEX].sum(1) + w.linear(f"{name}.numbers", numbers, 1, bias=False)[:, 0]


def perceptron(w, x, hidden):
    h = w.deep("deep.", x, hidden)
    return w.head(h, "deep.head"), h if hidden else None


def wide_deep(w, b, hidden):
    deep, h = perceptron(w, dense(b.parts), hidden)
    return first_order(w, "wide", b) + deep, h


def deepfm(w, b, hidden):
    e = fields(b.parts)
    second = sum((e[:, i] * e[:, j]).sum(1) for i in range(3) for j in range(i))
    deep, h = perceptron(w, dense(b.parts), hidden)
    return first_order(w, "first", b) + second + deep, h


for hidden in [[], [6, 4]]:
    more("wide_deep", f"wide_deep, {hidden}", f"hidden = {hidden}", lambda w, b: wide_deep(w, b, hidden))
    more("deepfm", f"deepfm, {hidden}", f"hidden = {hidden}", lambda w, b: deepfm(w, b, hidden))


def din(w, b, attention, activation, softmax, hidden):
    q, s = b.parts[0][:, :4], b.sequence
    rows = [s.of_row(row) for row in range(5)]
    k = s.values[sum(rows, [])]
    attended = [torch.zeros(4)] * 5
    if len(k):
        row = torch.tensor([row for row, values in enumerate(rows) for _ in values])
        h = w.deep("attention.0.hidden.", torch.cat([q[row], k, q[row] - k, q[row] * k], 1), attention, activation)
        scores = w.linear("attention.0.score", h, 1)[:, 0]
        for i, values in enumerate(rows):
            if values:
                of_row = torch.softmax(scores[row == i], 0) if softmax else scores[row == i]
                attended[i] = of_row @ k[row == i]
    x = dense(b.parts)
    # The last field's columns, [9, 13), hold the pooled sequence.
    return perceptron(w, torch.cat([x[:, :9], torch.stack(attended), x[:, 13:]], 1), hidden)


OWN, NONE = dict(lengths=(2, 0, 1, 3, 1), shared=False), dict(lengths=(0, 0, 0))
for attention, activation, softmax, hidden, batches, training in [
    ([5], "relu", False, [6, 4], [Batch()], False),
    ([], "relu", True, [6], [Batch(), Batch(**NONE), Batch(**OWN)], False),
    ([5], "dice", False, [], [Batch(), Batch(**NONE), Batch(**OWN)], True),
    ([5, 3], "dice", True, [6], [Batch(**OWN), Batch()], True),
]:
    more("din", f"din, {attention}, {activation}, softmax {softmax}, {hidden}",
         f'attention_hidden = {attention}\nattention_activation = "{activation}"\nsoftmax = {str(softmax).lower()}\n'
         f'hidden = {hidden}\nactivation = "relu"',
         lambda w, b: din(w, b, attention, activation, softmax, hidden), batches, training)


def aitm(w, b, hidden, activation, norm):
    k = hidden[-1]
    p = w.deep("transfer.", b.upstream, [k], activation, norm)
    q = w.deep("deep.", dense(b.parts), hidden, activation, norm)
    u = torch.stack([p, q], 1)
    scores = (w.linear("query", u, k, bias=False) * w.linear("key", u, k, bias=False)).sum(2) / k ** 0.5
    z = (torch.softmax(scores, 1)[..., None] * w.linear("value", u, k, bias=False)).sum(1)
    return w.head(z), z


for hidden, activation, norm, training in [([6, 4], "relu", "none", False), ([5], "dice", "batch", True)]:
    more("aitm", f"aitm, {hidden}, {activation}, {norm}", f'hidden = {hidden}\nactivation = "{activation}"\nnorm = "{norm}"',
         lambda w, b: aitm(w, b, hidden, activation, norm), [Batch() for _ in range(2)], training)


# Hidden layers of towers above.

def dcn_hidden(w, b, structure):
    x0 = xl = dense(b.parts)
    for layer in range(2):
        xl = x0 * w.linear(f"cross.{layer}.up", xl, WIDTH) + xl
    h = w.deep("deep.", xl if structure == "stacked" else x0, [6, 4])
    return w.head(h if structure == "stacked" else torch.cat([xl, h], 1)), h


for structure in ["parallel", "stacked"]:
    more("dcn_v2", f"dcn_v2, {structure}, hidden layer", f'cross_layers = 2\nstructure = "{structure}"\nhidden = [6, 4]',
         lambda w, b: dcn_hidden(w, b, structure))


def final_mlp_hidden(w, b):
    one, two = w.deep("first.", dense(b.parts), [7, 6]), w.deep("second.", dense(b.parts), [4])
    both = torch.cat([one, two], 1)
    return w.head(both) + torch.einsum("bi,ij,bj->b", one, w("fusion", 1, 6, 4)[0], two), both


more("final_mlp", "final_mlp, hidden layer", "first = [7, 6]\nsecond = [4]\nheads = 1", final_mlp_hidden)

# ---- Write.

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "towers_torch.json")
inputs = [[{**packed(own), "index": None}, {**packed(shared), "index": INDEX.tolist()}] for own, shared in INPUTS]
with open(path, "w") as f:
    json.dump({"parts": PARTS, "inputs": inputs, "cases": CASES, "more": MORE}, f, separators=(",", ":"))
    f.write("\n")
