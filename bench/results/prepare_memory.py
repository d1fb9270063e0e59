"""Peak memory of `esmm-funnel prepare` at several sizes, and what it would be at Ali-CCP's own.

    python prepare_memory.py target/release/esmm-funnel configs/aliccp.toml FOLDER [rows ...]

Makes raw files with `synth aliccp` in FOLDER (default 500,000, 2 and 8 million rows of train: 0.25, 1 and 4 GB), prepares each, and looks at the
process 100 times a second: `RssAnon` is what it owns, `VmHWM` has the mapped pages of the store too. Files are removed after each size. The line
through the peaks is by rows, with 58 rows a group of common features at every size.
"""

import json
import os
import shutil
import subprocess
import sys
import time

program, spec, folder = sys.argv[1:4]
sizes = [int(n) for n in sys.argv[4:]] or [500_000, 2_000_000, 8_000_000]


def status(pid):
    with open(f"/proc/{pid}/status") as lines:
        pairs = (line.split(":", 1) for line in lines)
        return {k: int(v.split()[0]) / 1000 for k, v in pairs if k in ("RssAnon", "VmHWM")}


def peaks(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    own = all_pages = 0.0
    while process.poll() is None:
        try:
            now = status(process.pid)
            own, all_pages = max(own, now.get("RssAnon", 0)), max(all_pages, now.get("VmHWM", 0))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.01)
    if process.returncode:
        sys.exit(f"prepare failed: {command}")
    return own, all_pages, json.loads(process.stdout.read())


points = []
print("| text | rows | groups | ids | anonymous, peak | with mapped pages |\n|---|---|---|---|---|---|")
for rows in sizes:
    data, store = os.path.join(folder, "memory-data"), os.path.join(folder, "memory-store")
    for old in (data, store):
        shutil.rmtree(old, ignore_errors=True)
    subprocess.run([program, "synth", "aliccp", "--rows", str(rows), "--test-rows", str(rows // 10), "--out", data, "-q"], check=True, stdout=subprocess.DEVNULL)
    text = sum(os.path.getsize(os.path.join(data, f)) for f in os.listdir(data) if f.endswith(".csv"))
    args = [program, "prepare", spec, "--set", f"data.source.dir={data}", "--store", store, "--format", "json", "-q"]
    own, all_pages, answer = peaks(args)
    meta = json.load(open(os.path.join(answer["store"], "meta.json")))
    groups, ids = meta["entities"][0]["entities"], sum(meta["dictionary_values"])
    print(f"| {text / 1e9:.2f} GB | {meta['rows']:,} | {groups:,} | {ids:,} | {own:.0f} MB | {all_pages:.0f} MB |", flush=True)
    points.append((meta["rows"] / 1e6, own, text))
    shutil.rmtree(data)
    shutil.rmtree(store)

(x0, y0, _), (x1, y1, text) = points[0], points[-1]
if x1 > x0:
    slope = (y1 - y0) / (x1 - x0)
    for gigabytes in (10, 19, 40):
        rows = gigabytes * 1e9 / text * x1
        print(f"{gigabytes} GB, about {rows:.0f}M rows: {y1 + slope * (rows - x1):.0f} MB ({slope:.1f} MB a million rows beyond {x1:.1f} million)")
