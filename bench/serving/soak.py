"""Load for minutes, with the server's memory over time: it must stay flat.

    python bench/serving/soak.py --seconds 300

Good requests of 1, 100 and 500 candidates, malformed ones and broken-off ones go on side by side, with the log on.
"""

import argparse
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from load import HERE, PROJECT, Server, free_port, our_bodies, train, wrk


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1]) / 1024


def torn(port, good, stop, counts):
    """Bodies that are cut, changed, or never end."""
    rng = np.random.default_rng(3)
    while not stop.is_set():
        body = bytearray(good.encode())
        body[int(rng.integers(len(body)))] = int(rng.integers(256))
        head = f"POST /v1/score HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        sent = bytes(body[: int(rng.integers(len(body)))]) if rng.random() < 0.3 else bytes(body)
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(head.encode() + sent)
                if len(sent) == len(body):
                    s.recv(4096)
            counts[0] += 1
        except OSError:
            counts[1] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--esmm", default=PROJECT / "target/release/esmm-funnel")
    parser.add_argument("--run")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="esmm-soak-"))
    run = pathlib.Path(args.run).resolve() if args.run else train(args, work)
    rng, port = np.random.default_rng(1), free_port()
    files = {}
    for n in [1, 100, 500]:
        files[n] = work / f"{n}.jsonl"
        files[n].write_text("\n".join(our_bodies(run, n, 64, rng)) + "\n")
    command = [str(args.esmm), "serve", str(run), "--addr", f"127.0.0.1:{port}", "--quiet", "--log", str(work / "log"), "--log-seconds", "20"]
    server = Server("serve", command, f"http://127.0.0.1:{port}/v1/score", encoded=False)
    stop, counts, seen, start = threading.Event(), [0, 0], [], time.time()
    try:
        if not server.wait(files[1].read_text().splitlines()[0]):
            sys.exit(1)
        tearing = threading.Thread(target=torn, args=(port, files[100].read_text().splitlines()[0], stop, counts))
        tearing.start()
        print("seconds  MiB  requests/s  malformed", flush=True)
        at = 0
        while time.time() - start < args.seconds:
            figures = wrk(server, files[[1, 100, 500][at % 3]], 16, 5)
            at += 1
            seen.append(memory(server.process.pid))
            print(f"{time.time() - start:7.0f} {seen[-1]:5.0f} {figures['requests'] / figures['seconds']:9.0f} {counts[0]:9d}", flush=True)
            if figures["errors"]:
                print(f"{figures['errors']} errors", flush=True)
        stop.set()
        tearing.join()
    finally:
        stop.set()
        server.end()
    print(f"ended with {server.process.returncode}")
    shutil.rmtree(work)
    # After a third of the time everything has been allocated once.
    early, late = np.median(seen[len(seen) // 3 : len(seen) // 2]), np.median(seen[-max(1, len(seen) // 6) :])
    print(f"median after a third: {early:.0f} MiB; at the end: {late:.0f} MiB")
    sys.exit(0 if late < early * 1.1 and server.process.returncode == 0 else 1)


if __name__ == "__main__":
    main()
