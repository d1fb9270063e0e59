#!/usr/bin/env python3
"""Side by side: our trainer and its peers on the same files, with the same network and batch, one after the other, several rounds.

    cargo build --release --examples && cargo build --release
    python bench/run.py flat     # 23 single-valued fields: training, scoring, a single row, the arithmetic limit
    python bench/run.py quality  # the same data, 1M rows, one epoch: AUC and log loss of everyone
    python bench/run.py grouped  # rows of Ali-CCP's shape: bags of a user's history, some 58 rows a user

Data are generated on first use below bench-data/. A peer takes part where an interpreter that has it is named (--torch, --tf, --trec; see
README.md) and is left out, and said to be, where none is. Results go to bench-data/results.jsonl, a line each; a table is printed.
"""

import argparse, json, os, platform, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
DATA = ROOT / "bench-data"
OURS = ROOT / "target/release/esmm-funnel"
MEASURE = ROOT / "target/release/examples/measure"

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("what", choices=["flat", "quality", "grouped"])
ap.add_argument("--torch", default=sys.executable, help="a Python with torch (and deepctr-torch, torch-rechub)")
ap.add_argument("--tf", help="a Python with tensorflow-cpu and deepctr")
ap.add_argument("--trec", help="a Python with torchrec and fbgemm-gpu-cpu")
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--batches", type=int, nargs="*", default=[1024, 4096, 8192])
ap.add_argument("--rows", type=int, default=300_000, help="rows of a timed epoch")
ap.add_argument("--only", nargs="*", help="contenders by name")
a = ap.parse_args()

PEERS = {
    "torch, one sparse table": (a.torch, ["esmm_torch.py", "--impl", "single"], "torch"),
    "torch, compiled": (a.torch, ["esmm_torch.py", "--impl", "compile"], "torch"),
    "torch, as usually written": (a.torch, ["esmm_torch.py", "--impl", "naive"], "torch"),
    "DeepCTR-Torch": (a.torch, ["esmm_torch.py", "--impl", "deepctr"], "deepctr_torch"),
    "torch-rechub": (a.torch, ["esmm_torch.py", "--impl", "rechub"], "torch_rechub"),
    "FBGEMM table": (a.trec, ["esmm_torch.py", "--impl", "tbe"], "fbgemm_gpu"),
    "DeepCTR (Keras)": (a.tf, ["esmm_keras.py"], "deepctr"),
}


def has(python, module):
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return python and subprocess.run([python, "-c", find], capture_output=True).returncode == 0


def lines(command, cwd=ROOT):
    """The JSON lines that a command prints, and its peak memory in MB."""
    p = subprocess.Popen([str(c) for c in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = p.communicate()
    if p.returncode:
        return [{"result": "failed", "why": err.strip().splitlines()[-1:] or [str(p.returncode)]}]
    return [json.loads(l) for l in out.splitlines() if l.startswith("{")]


def ours(spec, out, *more):
    """Trains; gives metrics.json and the process's peak memory."""
    subprocess.run(["rm", "-rf", out], check=True)
    command = [OURS, "run", spec, "--out", out, "--device", "cpu", "-q", *more]
    pid = os.posix_spawn(str(OURS), [str(c) for c in command], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} ended with {os.waitstatus_to_exitcode(status)}")
    return json.load(open(Path(out) / "metrics.json")), round(usage.ru_maxrss / 1024)


def flat_data():
    if not (DATA / "flat/meta.json").exists():
        subprocess.run([a.torch, HERE / "gen.py", "--out", DATA / "flat", "--train", "1050000", "--test", "500000"], check=True)
    cut = f"""
import pyarrow.parquet as pq
t = pq.read_table({str(DATA / "flat/train.parquet")!r})
pq.write_table(t.slice(1_000_000, 50_000), {str(DATA / "flat/valid.parquet")!r})
pq.write_table(t.slice(0, 1_000_000), {str(DATA / "flat/train-1000000.parquet")!r})
pq.write_table(t.slice(0, {a.rows}), {str(DATA / f"flat/train-{a.rows}.parquet")!r})
"""
    subprocess.run([a.torch, "-c", cut], check=True)


def train_files(rows):
    return ["--set", f'data.source.files=["{DATA}/flat/train-{rows}.parquet"]']


def machine():
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    return {"result": "machine", "cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg()[0], "at": time.strftime("%Y-%m-%d %H:%M")}


def contenders():
    chosen = {}
    for name, (python, script, module) in PEERS.items():
        if a.only is not None and name not in a.only:
            continue
        if has(python, module):
            chosen[name] = [python, HERE / "peers" / script[0], *script[1:]]
        else:
            print(f"left out: {name} (no interpreter with `{module}`)", file=sys.stderr)
    return chosen


def record(results, log, line):
    results.append(line)
    log.write(json.dumps(line) + "\n")
    log.flush()
    print(json.dumps(line), file=sys.stderr)


def spread(values):
    m = statistics.median(values)
    return f"{m:,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def flat(log):
    flat_data()
    peers, results = contenders(), []
    for batch in a.batches:
        for _ in range(a.rounds):
            for line in lines([MEASURE, "gemm", batch]):
                record(results, log, line)
            metrics, mb = ours(HERE / "flat.toml", DATA / "runs/flat", "--set", f"train.batch_rows={batch}", *train_files(a.rows))
            timing = metrics["timing"]
            line = {"result": "train", "impl": "esmm-funnel", "batch": batch, "rows_per_s": timing["rows_per_second"], "peak_rss_mb": mb}
            record(results, log, {**line, "wait_share": timing["wait_seconds"] / timing["train_seconds"]})
            for name, command in peers.items():
                options = ["--data", DATA / "flat", "--batch", batch, "--rows", a.rows, "--no-quality", "--threads", os.cpu_count()]
                if batch != a.batches[-1]:
                    options.append("--no-infer")
                for line in lines([*command, *options]):
                    line["impl"] = name
                    if line["result"] == "train":
                        line["rows_per_s"] = a.rows / line["epoch_s"]
                    record(results, log, line)
            if batch == a.batches[-1]:
                for line in lines([MEASURE, "score", DATA / "runs/flat"]):
                    record(results, log, line)
    names = ["esmm-funnel", *peers]
    of = lambda what, **wanted: [r for r in results if r["result"] == what and all(r.get(k) == v for k, v in wanted.items())]
    print(f"\nTraining, rows a second: median of {a.rounds} (range); share of the arithmetic limit of the same round\n")
    print("| | " + " | ".join(map(str, a.batches)) + " | peak MB |\n|---|" + "---:|" * (len(a.batches) + 1))
    limits = {b: statistics.median(r["rows_per_s"] for r in of("gemm-limit", batch=b)) for b in a.batches}
    for name in names:
        cells = []
        for b in a.batches:
            rates = [r["rows_per_s"] for r in of("train", impl=name, batch=b)]
            cells.append(f"{spread(rates)}, {100 * statistics.median(rates) / limits[b]:.0f} %" if rates else "failed")
        mb = [r["peak_rss_mb"] for r in of("train", impl=name)]
        print(f"| {name} | " + " | ".join(cells) + f" | {max(mb, default=0):,} |")
    print("| arithmetic limit | " + " | ".join(spread([r["rows_per_s"] for r in of("gemm-limit", batch=b)]) for b in a.batches) + " | |")
    print("\nScoring: rows a second in batches of 8192, a single row in µs (p50)\n\n| | rows/s | µs |\n|---|---:|---:|")
    for name in names:
        found = of("infer", impl=name)
        if found:
            rates, micros = ([r[k] for r in found] for k in ("infer_samples_per_s", "single_row_us_p50"))
            print(f"| {name} | {spread(rates)} | {spread(micros)} |")


def quality(log):
    flat_data()
    results = []
    metrics, _ = ours(HERE / "flat.toml", DATA / "runs/quality", "--predictions", "--set", "train.batch_rows=1024", *train_files(1_000_000))
    score = f"""
import sys, json; sys.path.insert(0, {str(HERE / "peers")!r})
from common import load, quality
import pyarrow.parquet as pq
_, _, y = load({str(DATA / "flat")!r}, "test")
p = pq.read_table({str(DATA / "runs/quality/predictions.parquet")!r})
c = lambda n: p[n].to_numpy()
sys.stdout = sys.__stdout__
print(json.dumps({{"result": "quality", "impl": "esmm-funnel", **quality({str(DATA / "flat")!r}, y, c("p_click"), c("p_purchase_given_click"), c("p_purchase"))}}))
"""
    for line in lines([a.torch, "-c", score]):
        record(results, log, line)
    for name, command in contenders().items():
        for line in lines([*command, "--data", DATA / "flat", "--batch", 1024, "--rows", 1_000_000, "--no-infer", "--threads", os.cpu_count()]):
            record(results, log, {**line, "impl": name})
    keys = ["auc_ctr", "auc_cvr_clicked", "auc_ctcvr", "auc_cvr_entire", "ll_ctr", "ll_ctcvr", "ll_cvr_entire", "calib_cvr_entire"]
    print("\n| | " + " | ".join(keys) + " |\n|---|" + "---:|" * len(keys))
    for r in results:
        if r["result"] == "quality":
            print(f"| {r['impl']} | " + " | ".join(f"{r[k]:.4f}" for k in keys) + " |")


def grouped(log):
    raw, results = DATA / "aliccp", []
    if not (raw / "truth_train.csv").exists() and not any(raw.glob("sample_skeleton_train*")):
        command = [OURS, "synth", "aliccp", "--rows", "400000", "--test-rows", "50000", "--vocab-scale", "0.3", "--out", raw]
        subprocess.run(command, check=True)
    variants = {"row by row": [], "by user": ["--set", "train.shuffle_by=user"], "by user, whole": ["--set", "train.shuffle_by=user", "--set", "train.shuffle_rows=1000"]}
    for _ in range(a.rounds):
        for name, more in variants.items():
            metrics, mb = ours(ROOT / "configs/aliccp.toml", DATA / "runs/grouped", "--set", f"data.source.dir={raw}", "--set", "train.batch_rows=4096", *more)
            test = metrics["test"]
            line = {"result": "train-bags", "impl": f"esmm-funnel, {name}", "rows_per_s": metrics["timing"]["rows_per_second"], "peak_rss_mb": mb}
            record(results, log, {**line, "click": test["click"]["full"]["auc"], "purchase": test["purchase"]["full"]["auc"]})
        for impl in ["flat", "grouped"]:
            for line in lines([a.torch, HERE / "peers/bags_torch.py", "--impl", impl, "--batch", 4096, "--threads", os.cpu_count()]):
                record(results, log, {**line, "impl": f"torch, {impl}"})
    print("\n| | rows/s | peak MB |\n|---|---:|---:|")
    for name in dict.fromkeys(r["impl"] for r in results):
        own = [r for r in results if r["impl"] == name and "rows_per_s" in r]
        print(f"| {name} | {spread([r['rows_per_s'] for r in own])} | {max(r['peak_rss_mb'] for r in own):,} |" if own else f"| {name} | failed | |")


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    with open(DATA / "results.jsonl", "a") as log:
        print(json.dumps(machine()), file=log)
        print(json.dumps(machine()))
        {"flat": flat, "quality": quality, "grouped": grouped}[a.what](log)
