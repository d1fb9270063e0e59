#!/usr/bin/env python3
"""PyTorch peers for ESMM on the data of gen.py.  One JSON line per result.

--impl  naive    23 nn.Embedding (dense grads) + plain Adam + DataLoader(TensorDataset): what most users write
        dense    one table, dense grads, Adam(fused) , tensor-slice batches
        sparse   23 nn.Embedding(sparse=True) + SparseAdam, Adam(fused) for the towers
        single   ONE nn.Embedding(sparse=True) over offset ids + SparseAdam, towers' first layers fused   (fastest plain torch)
        bag      as single, through nn.EmbeddingBag(mode=sum)
        adagrad  as single, with Adagrad on the table
        compile  as single, towers under torch.compile
        tbe      fbgemm SplitTableBatchedEmbeddingBags on CPU, exact row-wise Adagrad fused in the backward (venv-trec)
        deepctr  deepctr_torch.models.ESMM through compile()/fit()/predict()
        rechub   torch_rechub ESMM through DataGenerator/MTLTrainer
--method esmm | base | aman | oversampling | unbias | division | esmm-ns   | competitors (all five in one go)
         (the paper's competitors; plain-torch impls only)
"""

import argparse, os, sys, tempfile, time


import numpy as np
from common import load, quality, Steps, rss_mb, emit, bench_infer

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--data", default="bench-data/flat")
ap.add_argument("--impl", default="single")
ap.add_argument("--method", default="esmm")
ap.add_argument("--batch", type=int, default=1024)
ap.add_argument("--rows", type=int, default=1_000_000)
ap.add_argument("--epochs", type=int, default=1)
ap.add_argument("--max-steps", type=int, default=0, help="stop after this many steps (throughput only)")
ap.add_argument("--dim", type=int, default=18)
ap.add_argument("--tower", type=int, nargs="*", default=[360, 200, 80])
ap.add_argument("--lr", type=float, default=1e-3)
ap.add_argument("--emb-lr", type=float, default=0, help="learning rate of the table (default: --lr; tbe/adagrad: 0.02)")
ap.add_argument("--init", type=float, default=0.01)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--cvr-epochs", type=int, default=0, help="epochs of the clicked-only CVR models of base/oversampling/unbias (default: --epochs)")
ap.add_argument("--cvr-batch", type=int, default=0)
ap.add_argument("--rate", type=float, default=0, help="aman: share of unclicked kept (default .1); oversampling: copies of positives (default 5)")
ap.add_argument("--no-quality", action="store_true")
ap.add_argument("--no-infer", action="store_true")
a = ap.parse_args()
os.environ.setdefault("OMP_NUM_THREADS", str(a.threads))
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
np.random.seed(a.seed)

t0 = time.time()
meta, X, Y = load(a.data, "train", a.rows)
_, XT, YT = load(a.data, "test")
load_s = time.time() - t0
fields, vocab = meta["fields"], [meta["vocab"][f] for f in meta["fields"]]
K = len(meta["stages"])
off = np.concatenate([[0], np.cumsum(vocab)[:-1]]).astype(np.int64)
tag = {
    "impl": a.impl,
    "method": a.method,
    "batch": a.batch,
    "rows": len(X),
    "epochs": a.epochs,
    "seed": a.seed,
    "threads": a.threads,
    "torch": torch.__version__,
}


def report(steps, epoch_s, extra=None):
    emit("train", **tag, **steps.stats(a.batch), epoch_s=round(epoch_s, 2), load_s=round(load_s, 2), peak_rss_mb=rss_mb(), **(extra or {}))


def mlp(i):
    ls = []
    for h in a.tower:
        ls += [nn.Linear(i, h), nn.ReLU()]
        i = h
    return nn.Sequential(*ls, nn.Linear(i, 1))


class FusedTowers(nn.Module):
    """k equal towers; the first layer is one GEMM."""

    def __init__(s, i, k):
        super().__init__()
        s.k, s.first = k, nn.Linear(i, a.tower[0] * k)
        s.rest = nn.ModuleList()
        for _ in range(k):
            ls, j = [], a.tower[0]
            for h in a.tower[1:]:
                ls += [nn.Linear(j, h), nn.ReLU()]
                j = h
            s.rest.append(nn.Sequential(*ls, nn.Linear(j, 1)))

    def forward(s, x):
        h = F.relu(s.first(x)).chunk(s.k, 1)
        return torch.cat([m(z) for m, z in zip(s.rest, h)], 1)


class Towers(nn.Module):
    def __init__(s, i, k):
        super().__init__()
        s.t = nn.ModuleList(mlp(i) for _ in range(k))

    def forward(s, x):
        return torch.cat([t(x) for t in s.t], 1)


class Tables(nn.Module):
    """ids (B,F) -> (B, F*dim)"""

    def __init__(s):
        super().__init__()
        im = a.impl
        s.off = torch.from_numpy(off)
        if im in ("naive", "sparse"):
            s.e = nn.ModuleList(nn.Embedding(v, a.dim, sparse=im == "sparse") for v in vocab)
        elif im == "bag":
            s.e = nn.EmbeddingBag(sum(vocab), a.dim, mode="sum", sparse=True)
        elif im == "tbe":
            from fbgemm_gpu.split_table_batched_embeddings_ops_training import SplitTableBatchedEmbeddingBagsCodegen as T
            from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
            from fbgemm_gpu.split_table_batched_embeddings_ops_training import ComputeDevice
            from fbgemm_gpu.split_embedding_configs import EmbOptimType as O

            d = (a.dim + 3) // 4 * 4  # fbgemm wants multiples of 4: 18 -> 20
            s.e = T(
                [(v, d, EmbeddingLocation.HOST, ComputeDevice.CPU) for v in vocab],
                optimizer=O.EXACT_ROWWISE_ADAGRAD,
                learning_rate=a.emb_lr or 0.02,
                eps=1e-8,
            )
            for w in s.e.split_embedding_weights():
                w.data.normal_(0, a.init)
            s.width = d * len(vocab)
            return
        else:
            s.e = nn.Embedding(sum(vocab), a.dim, sparse=im != "dense")
        s.width = a.dim * len(vocab)
        for p in s.parameters():
            nn.init.normal_(p, 0, a.init)

    def forward(s, x):
        im = a.impl
        if im in ("naive", "sparse"):
            return torch.cat([e(x[:, j]) for j, e in enumerate(s.e)], 1)
        if im == "bag":
            return s.e((x + s.off).view(-1), torch.arange(x.numel())).view(len(x), -1)
        if im == "tbe":
            o = torch.arange(0, x.numel() + 1)
            return s.e(x.t().contiguous().view(-1), o)
        return s.e(x + s.off).view(len(x), -1)


class Net(nn.Module):
    """k towers; shared=False: one set of tables per tower (ESMM-NS)."""

    def __init__(s, k, shared=True):
        super().__init__()
        s.shared = shared
        s.tab = nn.ModuleList(Tables() for _ in range(1 if shared else k))
        w = s.tab[0].width
        if shared:
            s.tow = (Towers if a.impl in ("naive", "sparse") or k == 1 else FusedTowers)(w, k)
        else:
            s.tow = nn.ModuleList(Towers(w, 1) for _ in range(k))
        s.f = torch.compile(s.tow) if a.impl == "compile" else s.tow

    def forward(s, x):  # -> conditional stage probabilities (B,k)
        if s.shared:
            return torch.sigmoid(s.f(s.tab[0](x)))
        return torch.sigmoid(torch.cat([t(e(x)) for e, t in zip(s.tab, s.tow)], 1))


def optimizers(m):
    emb = [p for n, p in m.named_parameters() if n.startswith("tab.")]
    rest = [p for n, p in m.named_parameters() if n.startswith("tow.")]
    if a.impl == "naive":
        return [torch.optim.Adam(m.parameters(), a.lr)]
    if a.impl == "dense":
        return [torch.optim.Adam(emb + rest, a.lr, fused=True)]
    o = [torch.optim.Adam(rest, a.lr, fused=True)]
    if a.impl == "tbe":
        return o
    if a.impl == "adagrad":
        return o + [torch.optim.Adagrad(emb, a.emb_lr or 0.02)]
    return o + [torch.optim.SparseAdam(emb, a.emb_lr or a.lr)]


def esmm_loss(p, y):
    return sum(F.binary_cross_entropy(p[:, : i + 1].prod(1), y[:, i]) for i in range(p.shape[1]))


def loop(m, Xt, Yt, loss, epochs, batch, steps=None, W=None, after=None):
    opts, n = optimizers(m), len(Xt)
    if a.impl == "naive":
        from torch.utils.data import DataLoader, TensorDataset

        it = lambda: DataLoader(TensorDataset(Xt, Yt), batch_size=batch, shuffle=True)
    else:

        def it():
            perm = torch.randperm(n)
            for i in range(0, n, batch):
                j = perm[i : i + batch]
                yield (Xt[j], Yt[j]) if W is None else (Xt[j], Yt[j], W[j])

    c, t = 0, time.time()
    for e in range(epochs):
        m.train()
        for b in it():
            for o in opts:
                o.zero_grad()
            l = loss(m(b[0]), *b[1:])
            l.backward()
            for o in opts:
                o.step()
            c += 1
            if steps is not None:
                steps.tick()
            if a.max_steps and c >= a.max_steps:
                return time.time() - t
        if after:
            after(e + 1)
    return time.time() - t


def predictor(m):
    def f(x):
        with torch.no_grad() if a.impl == "tbe" else torch.inference_mode():  # fbgemm's CPU op does not exist under inference_mode
            return m(torch.from_numpy(np.ascontiguousarray(x))).numpy()

    return f


def predict_all(m):
    m.eval()
    f = predictor(m)
    return np.concatenate([f(XT[i : i + 8192]) for i in range(0, len(XT), 8192)]).astype(np.float64)


def plain():
    Xt, Yt = torch.from_numpy(X), torch.from_numpy(Y)
    st = Steps()
    if a.method in ("esmm", "esmm-ns"):
        m = Net(K, a.method == "esmm")
        st.start()

        def after(e):
            if a.no_quality or a.max_steps:
                return
            t = time.perf_counter()
            p = predict_all(m)
            emit("quality", **tag, epoch=e, **quality(a.data, YT, p[:, 0], p[:, 1:].prod(1)))

        s = loop(m, Xt, Yt, esmm_loss, a.epochs, a.batch, st, after=after)
        if a.epochs == 1:
            s = st.t[-1] - st.t[0]
        report(st, s / a.epochs)
        if not a.no_infer:
            emit("infer", **tag, **bench_infer(predictor(m.eval()), XT))
        return
    # ---- competitors: ONE separate CTR model for all of them + a CVR (or CTCVR) model each, no sharing
    buy = Yt[:, -1]
    cl = Yt[:, 0] > 0.5
    bce = lambda p, y: F.binary_cross_entropy(p[:, 0], y[:, 0])
    bcw = lambda p, y, w: F.binary_cross_entropy(p[:, 0], y[:, 0], weight=w)
    ctr = Net(1)
    loop(ctr, Xt, Yt[:, :1], bce, a.epochs, a.batch, st)
    pctr = predict_all(ctr)[:, 0]
    with torch.inference_mode():
        w = torch.cat([1 / ctr(Xt[cl][i : i + 8192])[:, 0].clamp(1e-4, 1) for i in range(0, int(cl.sum()), 8192)])
    w = torch.minimum(w, 10 * w.median())
    w = (w / w.mean()).clone()  # 1/pCTR: the smooth form of rejection sampling, clipped at 10x median
    for meth in ("base", "oversampling", "unbias", "aman", "division") if a.method == "competitors" else (a.method,):
        W, loss, rate = None, bce, 0
        ep, ba = a.cvr_epochs or a.epochs, a.cvr_batch or a.batch
        xs, ys = Xt[cl], buy[cl][:, None]
        if meth == "division":
            xs, ys, ep, ba = Xt, buy[:, None], a.epochs, a.batch
        elif meth == "aman":
            rate = a.rate or 0.1
            keep = cl | (torch.rand(len(cl)) < rate)
            xs, ys, ep = Xt[keep], buy[keep][:, None], min(ep, 2)
        elif meth == "oversampling":
            rate = a.rate or 5
            pos = ys[:, 0] > 0.5
            k = int(rate) - 1
            xs, ys = torch.cat([xs, xs[pos].repeat(k, 1)]), torch.cat([ys, ys[pos].repeat(k, 1)])
        elif meth == "unbias":
            W, loss = w, bcw
        elif meth != "base":
            sys.exit("unknown method")
        torch.manual_seed(a.seed)
        cvr = Net(1)

        def after(e):
            p = predict_all(cvr)[:, 0]
            if meth == "division":
                q, j = np.minimum(p / np.maximum(pctr, 1e-9), 1.0), p
            else:
                q, j = p, None
            emit("quality", **{**tag, "method": meth}, cvr_epoch=e, cvr_batch=ba, rate=rate, **quality(a.data, YT, pctr, q, j))

        loop(cvr, xs, ys, loss, ep, ba, None, W, after)


def deepctr():
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import ESMM
    import importlib.metadata as im

    tag["lib"] = "deepctr-torch " + im.version("deepctr-torch")
    if a.max_steps:
        nX = X[: a.max_steps * a.batch]
        nY = Y[: a.max_steps * a.batch]
    else:
        nX, nY = X, Y
    fc = [SparseFeat("f_" + f, v, embedding_dim=a.dim) for f, v in zip(fields, vocab)]
    m = ESMM(fc, tower_dnn_hidden_units=tuple(a.tower), device="cpu", seed=a.seed)  # library defaults (l2_reg_embedding=1e-5, init_std=1e-4)
    m.compile(torch.optim.Adam(m.parameters(), a.lr), loss=["binary_crossentropy", "binary_crossentropy"], metrics=["binary_crossentropy"])
    st = Steps()
    o = m.optim.step

    def step(*x, **k):
        r = o(*x, **k)
        st.tick()
        return r

    m.optim.step = step
    dic = lambda x: {"f_" + f: x[:, j] for j, f in enumerate(fields)}
    t = time.time()
    st.start()
    m.fit(dic(nX), nY, batch_size=a.batch, epochs=a.epochs, verbose=0)
    report(st, (time.time() - t) / a.epochs)
    if not a.no_quality:
        p = m.predict(dic(XT), 8192)
        emit("quality", **tag, **quality(a.data, YT, p[:, 0], p[:, 1] / np.maximum(p[:, 0], 1e-9), p[:, 1]))
    if not a.no_infer:
        emit("infer", **tag, **bench_infer(lambda x: m.predict(dic(x), 8192), XT, single=200))


def rechub():
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import ESMM
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator, PredictDataset
    import importlib.metadata as im

    tag["lib"] = "torch-rechub " + im.version("torch-rechub")
    n = a.max_steps * a.batch if a.max_steps else len(X)
    lab = lambda y: np.stack([y[:, -1], y[:, 0], y[:, -1]], 1)  # cvr, ctr, ctcvr (order fixed by the library)
    dic = lambda x: {f: np.ascontiguousarray(x[:, j]) for j, f in enumerate(fields)}
    mk = lambda fs: [SparseFeature(f, meta["vocab"][f], embed_dim=a.dim) for f in fs]
    m = ESMM(mk(meta["user_fields"]), mk(meta["item_fields"]), cvr_params={"dims": a.tower}, ctr_params={"dims": a.tower})
    dg = DataGenerator(dic(X[:n]), lab(Y[:n]))
    tr, va, te = dg.generate_dataloader(x_val=dic(XT), y_val=lab(YT), x_test=dic(XT), y_test=lab(YT), batch_size=a.batch)
    trainer = MTLTrainer(
        m,
        task_types=["classification"] * 3,
        optimizer_params={"lr": a.lr, "weight_decay": 0},
        n_epoch=a.epochs,
        device="cpu",
        model_path=tempfile.gettempdir(),
    )
    st = Steps()
    o = trainer.optimizer.step

    def step(*x, **k):
        r = o(*x, **k)
        st.tick()
        return r

    trainer.optimizer.step = step
    t = time.time()
    st.start()
    for _ in range(a.epochs):
        trainer.train_one_epoch(tr)
    s = (time.time() - t) / a.epochs
    report(st, s)

    def pred(x, bs=8192):  # the library's predict() collates row by row; this is its model on ready tensors (kinder)
        with torch.inference_mode():
            return m({f: torch.from_numpy(np.ascontiguousarray(x[:, j])) for j, f in enumerate(fields)}).numpy()

    m.eval()
    if not a.no_quality:
        p = np.concatenate([pred(XT[i : i + 8192]) for i in range(0, len(XT), 8192)]).astype(np.float64)
        emit("quality", **tag, **quality(a.data, YT, p[:, 1], p[:, 0], p[:, 2]))
    if not a.no_infer:
        emit("infer", **tag, **bench_infer(pred, XT))
        dl = torch.utils.data.DataLoader(PredictDataset(dic(XT[:100_000])), batch_size=8192)
        t = time.time()
        trainer.predict(m, dl)
        s = time.time() - t
        emit("infer-own-loader", **tag, infer_samples_per_s=round(100_000 / s))


{"deepctr": deepctr, "rechub": rechub}.get(a.impl, plain)()
