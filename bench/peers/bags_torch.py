#!/usr/bin/env python3
"""PyTorch ESMM on rows of Ali-CCP's shape: 9 single user fields and 4 user history bags (608 ids a user), 10 item fields, 58 rows a user.

--impl flat     what every public library does: the user's fields stand on each row (EmbeddingBag, offsets)
--impl grouped  a hand-written best case: user side embedded and pooled once per user, then expanded (nobody ships this)
Prints one JSON line with rows/s (median step).  Network: dim 18, towers 360-200-80, sparse row gradients + SparseAdam, Adam for the rest.
"""

import argparse, json, time
import numpy as np, torch, torch.nn as nn

p = argparse.ArgumentParser()
p.add_argument("--impl", choices=["flat", "grouped"], default="flat")
p.add_argument("--batch", type=int, default=4096)
p.add_argument("--steps", type=int, default=20)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--rows-per-user", type=int, default=58)
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
rng = np.random.default_rng(0)
D = 18
BAGS = {"110_14": (116741, 250), "127_14": (58015, 154), "150_14": (33786, 136), "109_14": (6086, 69)}
USER = [238635, 98, 14, 3, 8, 4, 4, 3, 5]
ITEM = [467298, 6929, 263942, 96258, 106399, 5888, 104830, 51878, 37148, 4]


def zipf(n, size):
    return np.minimum((n ** rng.random(size)).astype(np.int64) - 1, n - 1).clip(0)


class Tower(nn.Sequential):
    def __init__(s, i):
        super().__init__(nn.Linear(i, 360), nn.ReLU(), nn.Linear(360, 200), nn.ReLU(), nn.Linear(200, 80), nn.ReLU(), nn.Linear(80, 1))


off_u = np.cumsum([0] + USER[:-1])
off_i = np.cumsum([0] + ITEM[:-1])
user = nn.Embedding(sum(USER), D, sparse=True)
item = nn.Embedding(sum(ITEM), D, sparse=True)
bags = nn.ModuleList(nn.EmbeddingBag(n, D, mode="sum", sparse=True) for n, _ in BAGS.values())
for e in [user, item, *bags]:
    nn.init.normal_(e.weight, std=0.01)
inp = D * (len(USER) + len(BAGS) + len(ITEM))
towers = nn.ModuleList([Tower(inp), Tower(inp)])
opt_s = torch.optim.SparseAdam([e.weight for e in [user, item, *bags]], lr=1e-3)
opt_d = torch.optim.Adam(towers.parameters(), lr=1e-3)


def batch():
    g = max(1, a.batch // a.rows_per_user)
    idx = np.sort(rng.integers(0, g, a.batch))
    u = np.stack([zipf(n, g) for n in USER], 1) + off_u
    i = np.stack([zipf(n, a.batch) for n in ITEM], 1) + off_i
    b = [[zipf(n, max(1, rng.poisson(m))) for _ in range(g)] for n, m in BAGS.values()]
    y = (rng.random(a.batch) < 0.04).astype(np.float32)
    z = y * (rng.random(a.batch) < 0.05)
    if a.impl == "flat":
        u = u[idx]
        b = [[x[k] for k in idx] for x in b]
    cat = [(torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.cumsum([0] + [len(v) for v in x[:-1]]))) for x in b]
    return torch.from_numpy(u), torch.from_numpy(i), cat, torch.from_numpy(idx), torch.from_numpy(y), torch.from_numpy(z.astype(np.float32))


data = [batch() for _ in range(3)]
times = []
for s in range(a.steps + 3):
    u, i, b, idx, y, z = data[s % 3]
    t = time.perf_counter()
    eu = torch.cat([user(u).flatten(1)] + [e(ids, o) for e, (ids, o) in zip(bags, b)], 1)
    if a.impl == "grouped":
        eu = eu[idx]
    x = torch.cat([eu, item(i).flatten(1)], 1)
    l1, l2 = (torch.nn.functional.logsigmoid(w(x).squeeze(1)) for w in towers)
    p1, p2 = l1.exp(), (l1 + l2).exp()
    loss = nn.functional.binary_cross_entropy(p1, y) + nn.functional.binary_cross_entropy(p2, z)
    opt_s.zero_grad(set_to_none=True)
    opt_d.zero_grad(set_to_none=True)
    loss.backward()
    opt_s.step()
    opt_d.step()
    if s >= 3:
        times.append(time.perf_counter() - t)
import resource

print(
    json.dumps(
        {
            "result": "train-bags",
            "impl": a.impl,
            "batch": a.batch,
            "rows_per_s": round(a.batch / float(np.median(times))),
            "step_ms": round(1e3 * float(np.median(times)), 1),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "torch": torch.__version__,
        }
    )
)
