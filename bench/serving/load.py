"""`esmm-funnel serve` under load, beside other servers of a model of the same shape: requests a second, p50 and p99.

    python bench/serving/load.py --seconds 10

One command: it trains the shipped funnel if `--run` names no run, starts our server and every peer whose packages are there, and drives one
after the other with `wrk` on loopback, at 1, 8 and 64 connections, for one candidate, 100 and 500 of one user. Rounds alternate between the
servers, and the median round is told. Peers get encoded ids (no vocabulary, shorter bodies) and as many processes as there are cores.

Needs `wrk`; for peers, in the Python that runs this: fastapi uvicorn httptools uvloop torch onnx onnxruntime granian litestar orjson numpy
pandas pyarrow. `--python` names another Python for the peers.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from model import Shape  # noqa: E402

PROJECT = HERE.parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def our_bodies(run, candidates, count, rng):
    """Requests with raw columns, drawn from what the vocabulary of the run holds."""
    features = json.loads((run / "features" / "features.json").read_text())["layout"]
    import pyarrow.parquet as pq

    vocabulary = pq.read_table(run / "features" / "vocabulary.parquet").to_pydict()
    ids = {}
    for table, name in zip(vocabulary["table"], vocabulary["id"]):
        ids.setdefault(table, []).append(name)
    table_of = lambda column: features["tables"][column["table"]]["name"]

    def draw(column):
        known = ids.get(table_of(column)) or ["1"]
        text = known[int(rng.integers(len(known)))]
        return int(text) if text.isdigit() and (text == "0" or text[0] != "0") else text

    def cells(group):
        row = {}
        for column in group["ids"]:
            row[column["column"]] = draw(column)
        for bag in group["bags"]:
            n = int(rng.integers(4, 13))
            row[bag["id"]["column"]] = [draw(bag["id"]) for _ in range(n)]
            if bag["weights"]:
                row[bag["weights"]] = [1.0] * n
        for number in group["numbers"]:
            row[number["column"]] = round(float(rng.random()) * 100, 2)
        return row

    rows, *entities = features["groups"]
    for _ in range(count):
        shared = {}
        for group in entities:
            shared.update(cells(group))
        yield json.dumps({"shared": shared, "candidates": [cells(rows) for _ in range(candidates)]})


class Server:
    def __init__(self, name, command, url, env=None, encoded=True):
        self.name, self.url, self.encoded = name, url, encoded
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, cwd=HERE, env={**os.environ, **(env or {})}, stdout=self.log, stderr=self.log, start_new_session=True)

    def wait(self, body):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                request = urllib.request.Request(self.url, body.encode(), {"content-type": "application/json"})
                answer = json.load(urllib.request.urlopen(request, timeout=5))
                if len(answer["rows"]) == 1:
                    return True
            except OSError:
                time.sleep(0.1)
        self.log.seek(0)
        print(f"{self.name} does not answer: {self.log.read()[-500:].decode(errors='replace')}", file=sys.stderr)
        return False

    def end(self):
        import signal

        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)


def start_all(args, run, onnx):
    cores = str(os.cpu_count())
    servers = []
    port = free_port()
    ours = [str(args.esmm), "serve", str(run), "--addr", f"127.0.0.1:{port}", "--quiet"]
    servers.append(Server("esmm-funnel serve", ours, f"http://127.0.0.1:{port}/v1/score", encoded=False))
    env = {"RUN": str(run), "ONNX": str(onnx), "OMP_NUM_THREADS": "1"}
    peers = {
        "fastapi": ("FastAPI + PyTorch (uvicorn)", ["-m", "uvicorn", "fastapi_torch:app", "--workers", cores, "--log-level", "warning", "--no-access-log"]),
        "ort": ("ONNX Runtime (granian, ASGI)", ["-m", "granian", "ort_asgi:app", "--interface", "asgi", "--workers", cores, "--loop", "uvloop", "--log-level", "warning"]),
        "litestar": ("ONNX Runtime (Litestar, uvicorn)", ["-m", "uvicorn", "ort_litestar:app", "--workers", cores, "--log-level", "warning", "--no-access-log"]),
    }
    for name in args.peers.split(",") if args.peers else []:
        if name == "triton":
            servers += triton(args, env)
            continue
        title, command = peers[name]
        port = free_port()
        servers.append(Server(title, [args.python, *command, "--port", str(port)], f"http://127.0.0.1:{port}/score", env))
    return servers


def triton(args, env):
    port = free_port()
    command = [args.triton_python or args.python, str(HERE / "pytriton_server.py"), str(port)]
    return [Server("PyTriton + ONNX Runtime", command, f"http://127.0.0.1:{port}/v2/models/funnel/infer", env)]


def wrk(server, bodies, connections, seconds):
    threads = min(2, connections)
    command = ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(HERE / "post.lua"), server.url, "--", str(bodies)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def triton_body(body):
    asked = json.loads(body)
    # Triton's own form: every input has the batch dimension.
    n = len(asked["items"])
    tensor = lambda name, kind, rows: {"name": name, "datatype": kind, "shape": [n, len(rows[0])], "data": [v for row in rows for v in row]}
    return json.dumps({"inputs": [tensor("user", "INT64", [asked["user"]] * n), tensor("items", "INT64", asked["items"]), tensor("numbers", "FP32", asked["numbers"])]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", help="a finished run of a chain [default: the shipped funnel is trained for it]")
    parser.add_argument("--esmm", default=PROJECT / "target/release/esmm-funnel")
    parser.add_argument("--python", default=sys.executable, help="Python of the peers")
    parser.add_argument("--triton-python", help="Python with nvidia-pytriton")
    parser.add_argument("--peers", default="fastapi,ort,litestar", help="of fastapi, ort, litestar, triton; empty: none")
    parser.add_argument("--candidates", default="1,100,500")
    parser.add_argument("--connections", default="1,8,64")
    parser.add_argument("--json", help="write every measurement to this file")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("`wrk` is not installed (apt install wrk)")
    work = pathlib.Path(tempfile.mkdtemp(prefix="esmm-load-"))
    run = pathlib.Path(args.run).resolve() if args.run else train(args, work)
    onnx = work / "funnel.onnx"
    if args.peers:
        code = f"from model import *; to_onnx(Shape({str(run)!r}), {str(onnx)!r})"
        subprocess.run([args.python, "-c", code], cwd=HERE, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rng, shape = np.random.default_rng(1), Shape(run)
    shapes = [int(c) for c in args.candidates.split(",")]
    bodies = {}
    for n in shapes + [1]:
        count = 64 if n > 1 else 1024
        encoded = list(shape.bodies(n, count, rng))
        for kind, lines in [("ours", list(our_bodies(run, n, count, rng))), ("encoded", encoded), ("triton", [triton_body(b) for b in encoded] if "triton" in args.peers else [])]:
            bodies[kind, n] = work / f"{kind}-{n}.jsonl"
            bodies[kind, n].write_text("\n".join(lines) + "\n")
    of = lambda server, n: bodies["ours" if not server.encoded else "triton" if "Triton" in server.name else "encoded", n]
    servers = start_all(args, run, onnx)
    measured = []
    try:
        servers = [s for s in servers if "Triton" in s.name or s.wait(of(s, 1).read_text().splitlines()[0])]
        for n in shapes:
            for connections in [int(c) for c in args.connections.split(",")]:
                for round_ in range(args.rounds):
                    for server in servers:
                        wrk(server, of(server, n), connections, 1)
                        figures = wrk(server, of(server, n), connections, args.seconds)
                        figures |= {"server": server.name, "candidates": n, "connections": connections, "round": round_}
                        figures["per_second"] = figures["requests"] / figures["seconds"]
                        measured.append(figures)
                        print(f"{server.name}: 1×{n}, {connections} connections: {figures['per_second']:.0f}/s", file=sys.stderr)
    finally:
        for server in servers:
            server.end()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(measured, indent=1) + "\n")
    table(measured)
    shutil.rmtree(work)


def train(args, work):
    run = work / "run"
    spec = PROJECT / "funnels/ctr_cvr.toml"
    command = [str(args.esmm), "run", str(spec), "--set", "train.epochs=1", "--set", "data.source.rows=100000", "--out", str(run), "--store", str(work / "store"), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def table(measured):
    print("| request | connections | server | requests/s | p50 ms | p99 ms | errors |\n|---|---|---|---|---|---|---|")
    key = lambda m: (m["candidates"], m["connections"], m["server"])
    seen = []
    for m in measured:
        if key(m) not in seen:
            seen.append(key(m))
    for k in seen:
        rounds = [m for m in measured if key(m) == k]
        median = lambda name: statistics.median(m[name] for m in rounds)
        errors = sum(m["errors"] for m in rounds)
        print(f"| 1×{k[0]} | {k[1]} | {k[2]} | {median('per_second'):,.0f} | {median('p50_us') / 1e3:.2f} | {median('p99_us') / 1e3:.2f} | {errors} |")


if __name__ == "__main__":
    main()
