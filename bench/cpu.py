# SPDX-License-Identifier: Apache-2.0
"""The speed of the CPU backend beside ONNX Runtime, against the bars of the project: `make bench`.

usage: cpu.py [--models A,B] [--parts forward,calibration,roofline] [--markdown] [--json FILE]
              [-b BATCHES] [-j THREADS] [--rounds N] [--seconds S] [--samples N] [--ort-methods A,B]

In one run: quantizes the models (method mse, 32 samples) into bench/models of the build tree; runs them in
fp32 and int8 (bench/ort.py); calibrates on images in memory beside the forward run alone and beside ONNX
Runtime's own calibration (bench/cpu_calib.py); and holds the heaviest steps against what a core and the
memory do at most (bench/bench_peak). Ends with `bench: P bars met, M missed`. A missed bar is no error, what
could not run is."""
import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime

import cpu_calib
import ort
from ort import common

EACH = {"fp32": 0.9, "int8": 1.0}  # of ONNX Runtime's throughput
MEAN = {"fp32": 1.0, "int8": 1.3}  # geometric, of the shares of a kind
TOPS, TOPS_MODEL, TOPS_THREADS = 1.2, "tinyimagenet-resnet50", 2
OF_FORWARD = {"tinyimagenet-resnet50": 0.85, "tinyimagenet-vit": 0.85, "tinyimagenet-mobilenet_v2": 0.6,
              "tinyimagenet-efficientnet_b0": 0.45}
FASTER = 3.0  # than ONNX Runtime's calibration by percentile
STEPS, STEP_BATCH, CALIB_BATCH = 10, 16, 16
CALIB_ROUNDS = 3  # each takes a second and more, in which a machine is disturbed: least of nine
words = lambda s: s.split(",")  # noqa: E731


def options():
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", type=words, default=list(ort.MODELS))
    ap.add_argument("--parts", type=words, default=["forward", "calibration", "roofline"])
    ap.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    ap.add_argument("--json", type=pathlib.Path, help="write all figures")
    ap.add_argument("-b", type=ort.numbers, default=[1, 16], help="batches")
    ap.add_argument("-j", type=ort.numbers, default=[1, 2], help="threads")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=0.5, help="of each round of a forward run, about")
    ap.add_argument("--samples", type=int, default=128, help="of the calibration that is timed")
    ap.add_argument("--ort-methods", type=words, default=["Percentile"], help="Percentile, Entropy")
    return ap.parse_args()


class Bench:
    """What was measured, which bars were met, what could not run."""

    def __init__(self, args):
        self.args = args
        self.folder = pathlib.Path(os.environ.get("PTQ_BUILD", ".")) / "bench" / "models"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bars, self.failed, self.figures = [], [], {}
        self.models = [m for m in common.models() if m["name"] in args.models]
        self.models.sort(key=lambda m: args.models.index(m["name"]))
        for name in set(args.models) - {m["name"] for m in self.models}:
            self.failed.append(name)
            print(f"could not run: {name}: no such model")

    def bar(self, what, value, least):
        """Counts a bar; the mark for its cell."""
        met = value >= least
        self.bars.append({"what": what, "value": value, "bar": least, "met": met})
        return "pass" if met else "missed"

    def attempt(self, what, fn, *argv):
        if sys.stderr.isatty():
            print(f"... {what}", file=sys.stderr, flush=True)
        try:
            return fn(*argv)
        except Exception as e:
            lines = (getattr(e, "stderr", None) or str(e) or type(e).__name__).strip().splitlines()
            self.failed.append(what)
            print(f"could not run: {what}: {lines[-1][:300]}", flush=True)
            return None

    def table(self, title, head, rows, notes=()):
        """Cells are text; the first column is on the left, numbers on the right."""
        if self.args.markdown:
            line = lambda cells: "| " + " | ".join(cells) + " |"  # noqa: E731
            print(f"**{title}**\n\n{line(head)}\n{line(['---'] * len(head))}")
            print("\n".join(map(line, rows)))
            print("\n" + "  \n".join(notes) if notes else "")
        else:
            width = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
            print(title)
            for r in [head, *rows]:
                print("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, width))))
            print("\n".join(notes))
        print(flush=True)


def quantize(*argv):
    return subprocess.run([str(common.build("bin/quantize")), *map(str, argv)], capture_output=True, text=True,
                          check=True).stdout


def quantize_model(b, m):
    how = [] if m["name"].startswith("shakespeare") else ["--preprocess", "imagenet-norm"]
    quantize("run", ort.file_of(m, "fp32", None), "-d", common.shared() / m["calib"], "-n", 32, "--method", "mse",
             "--no-compare", "-q", "-f", "-o", ort.file_of(m, "int8", b.folder), *how)


# ---- forward

def forward_row(b, m, kind, batch, threads):
    mine, his = ort.measure(ort.file_of(m, kind, b.folder), m, batch, threads, kind == "int8", b.args.rounds,
                            b.args.seconds)
    return {"model": m["name"], "kind": kind, "batch": batch, "threads": threads, "ours_ms": mine, "ort_ms": his,
            "share": his / mine}


def geometric(rows):
    return math.exp(sum(math.log(r["share"]) for r in rows) / len(rows))


def forward(b):
    found, text = [], []
    for m in b.models:
        for kind in EACH:
            for batch in b.args.b:
                for threads in b.args.j:
                    what = f"{kind} {m['name']}, batch {batch}, threads {threads}"
                    r = b.attempt(what, forward_row, b, m, kind, batch, threads)
                    if r is None:
                        continue
                    found.append(r)
                    text.append([m["name"], kind, str(batch), str(threads), f"{r['ours_ms']:.3f}",
                                 f"{r['ort_ms']:.3f}", f"{r['share']:.2f}", b.bar(what, r["share"], EACH[kind])])
    b.table("Forward: milliseconds, best of the rounds; share: our throughput over ONNX Runtime's",
            ["model", "kind", "batch", "threads", "ours", "ORT", "share", "bar"], text,
            [f"bars: {', '.join(f'{k} {v}' for k, v in EACH.items())}"])
    b.figures["forward"] = found
    means(b, found)
    operations(b, found)


def means(b, found):
    text, b.figures["geometric_means"] = [], []
    for kind in EACH:
        for batch, threads in [(x, y) for x in b.args.b for y in b.args.j] + [(None, None)]:
            rows = [r for r in found if r["kind"] == kind and batch in (None, r["batch"])
                    and threads in (None, r["threads"])]
            if not rows:
                continue
            g = geometric(rows)
            b.figures["geometric_means"].append({"kind": kind, "batch": batch, "threads": threads, "share": g})
            mark = b.bar(f"{kind} geometric mean", g, MEAN[kind]) if batch is None else ""
            text.append([kind, str(batch or "all"), str(threads or "all"), f"{g:.3f}", mark])
    b.table("Geometric means of the shares", ["kind", "batch", "threads", "share", "bar"], text,
            [f"bars, of all: {', '.join(f'{k} {v}' for k, v in MEAN.items())}"])


def operations(b, found):
    """Operations per second: twice the multiply-accumulates of the model."""
    rows = [r for r in found if r["model"] == TOPS_MODEL and r["kind"] == "int8" and r["threads"] == TOPS_THREADS]
    told = rows and b.attempt("operations", lambda: json.loads(
        quantize("inspect", common.shared() / "models" / (TOPS_MODEL + ".onnx"), "--json")))
    if not told:
        return
    tops = {r["batch"]: 2e-9 * told["macs"] * r["batch"] / r["ours_ms"] for r in rows}
    best = max(tops, key=tops.get)
    mark = b.bar(f"TOPS of {TOPS_MODEL}", tops[best], TOPS)
    b.table(f"{TOPS_MODEL}, int8, {TOPS_THREADS} threads: TOPS (2 x {told['macs'] / 1e9:.4f} G MACs a sample)",
            ["batch", "TOPS", "bar"], [[str(k), f"{v:.3f}", mark if k == best else ""] for k, v in tops.items()],
            [f"bar: {TOPS} with the better batch"])
    b.figures["tops"] = [{"batch": k, "tops": v} for k, v in tops.items()]


# ---- calibration

def calibration_rows(b, m, folder):
    a, path = b.args, ort.file_of(m, "fp32", None)
    x, samples = cpu_calib.samples_of(m, a.samples, folder)
    ready, rows = cpu_calib.prepared(path, folder), []
    for threads in a.j:
        r = {"model": m["name"], "threads": threads, "samples": len(x), "batch": CALIB_BATCH,
             **cpu_calib.ours(path, samples, CALIB_BATCH, threads, CALIB_ROUNDS * a.rounds, "percentile")}
        for method in a.ort_methods:
            r["ort_" + method], r["ort_tensors"] = cpu_calib.theirs(ready, x, CALIB_BATCH, threads, method)
        rows.append(r)
    return rows


def calibration(b):
    found, ahead, beside = [], [], []
    with tempfile.TemporaryDirectory() as d:
        for m in b.models:
            found += b.attempt(f"calibration of {m['name']}", calibration_rows, b, m, pathlib.Path(d)) or []
    for r in found:
        what = f"calibration of {r['model']}, threads {r['threads']}"
        r["share"], least = r["forward_s"] / r["calibration_s"], OF_FORWARD.get(r["model"])
        mark = b.bar(what + " over forward", r["share"], least) if least else ""
        ahead.append([r["model"], str(r["threads"]), str(r["tensors"]), f"{r['forward_s']:.3f}",
                      f"{r['calibration_s']:.3f}", f"{r['share']:.2f}", str(least or ""), mark])
        whole = r["calibration_s"] + r["ranges_s"]
        for method in b.args.ort_methods:
            faster = r["ort_" + method] / whole
            mark = b.bar(what + " over ONNX Runtime", faster, FASTER) if method == "Percentile" else ""
            beside.append([r["model"], str(r["threads"]), f"{whole:.3f}", method, str(r["ort_tensors"]),
                           f"{r['ort_' + method]:.3f}", f"{faster:.1f}", mark])
    same = (f"{b.args.samples} samples, batches of {CALIB_BATCH}, decoded and preprocessed before on both sides: only "
            "reading from memory, joining to batches, runs and histograms are timed")
    b.table("Calibration with histograms beside the fp32 forward alone: seconds, least of the rounds",
            ["model", "threads", "tensors", "forward", "calibration", "share", "bar", ""], ahead, [same])
    b.table("Calibration and ranges (percentile) beside ONNX Runtime's own calibration: seconds",
            ["model", "threads", "ours", "ORT method", "ORT tensors", "ORT", "times faster", "bar"], beside,
            [same + "; and the ranges. ONNX Runtime: collect_data and compute_data of one calibrator, one turn",
             "It observes more tensors than ours; at infinite ones (shakespeare-gpt) it stops, so there only those of "
             "products", f"bar: {FASTER} times faster"])
    b.figures["calibration"] = found


# ---- roofline

LINE = re.compile(r"\s*\d+ (\S+)\s+(\S+)\s+(\S+).* ([0-9.]+) ms (\d+) MAC (\d+) bytes$")


def steps_of(b, m, kind):
    """Steps of one run on one thread: kind of step, name, seconds, MACs, bytes."""
    path, x = ort.file_of(m, kind, b.folder), common.inputs(m, STEP_BATCH)
    nout = len(ort.session_of(path, 1).get_outputs())
    with tempfile.TemporaryDirectory() as d:
        np.save(f"{d}/x.npy", x)
        integer = kind == "int8"
        one = ort.ours(path, [f"{d}/x.npy"], 1, integer, nout, 3)
        out = ort.program(path, [f"{d}/x.npy"], 1, integer, nout, max(5, int(1e3 * b.args.seconds / one)), ["--steps"])
    lines = [LINE.match(line) for line in out.splitlines()]
    return [{"step": f[1] if f[1].startswith("q") else f[2], "int8": f[1] != "float", "name": f[3], "ms": float(f[4]),
             "macs": int(f[5]), "bytes": int(f[6])} for f in lines if f]


def roofline_table(b, m, kind, peaks):
    steps = steps_of(b, m, kind)
    for s in steps:
        s["peak"] = peaks["int8_core" if s["int8"] else "f32_core"]
        s["least_ms"] = max(2e-6 * s["macs"] / s["peak"], 1e-6 * s["bytes"] / peaks["memory"])
    total = sum(s["ms"] for s in steps)
    share = lambda part, whole: f"{100 * part / whole:.0f} %" if whole > 0 else ""  # noqa: E731
    text = []
    for s in sorted(steps, key=lambda s: -s["ms"])[:STEPS]:
        rate, flow = (2e-6 * s["macs"] / s["ms"], 1e-6 * s["bytes"] / s["ms"]) if s["ms"] > 0 else (0, 0)
        text.append([s["name"], s["step"], f"{s['ms']:.3f}", share(s["ms"], total), f"{rate:.0f}",
                     share(rate, s["peak"]), f"{flow:.1f}", share(flow, peaks["memory"])])
    notes = [f"{len(steps)} steps, {total:.2f} ms"]
    for name, some in [("products", [s for s in steps if s["macs"]]), ("others", [s for s in steps if not s["macs"]])]:
        took = sum(s["ms"] for s in some)
        work, least = 2e-6 * sum(s["macs"] for s in some), sum(s["least_ms"] for s in some)
        rate = f", {work / took:.0f} G/s" if work and took else ""
        notes.append(f"{name}: {share(took, total)} of the time{rate}; the limits leave {least:.2f} of {took:.2f} ms")
    b.table(f"Roofline of {m['name']}, {kind}, batch {STEP_BATCH}, 1 thread: the {STEPS} heaviest steps",
            ["step", "kind", "ms", "of run", "G/s", "of core", "GB/s", "of memory"], text, notes)
    return {"model": m["name"], "kind": kind, "steps": steps}


def peaks_of(threads):
    out = subprocess.run([str(common.build("bench/bench_peak")), str(threads)], capture_output=True, text=True,
                         check=True).stdout
    return {name: float(v) for name, v in map(str.split, out.splitlines())}


def roofline(b):
    found, text = {}, []
    for threads in b.args.j:
        p = b.attempt(f"peaks on {threads} threads", peaks_of, threads)
        if p:
            found[threads] = p
            text.append([str(threads), *[f"{p[k]:.0f}" for k in ("f32_core", "f32_tiles", "int8_core", "int8_tiles")],
                         f"{p['memory']:.1f}"])
    b.figures["peaks"] = found
    b.table("Limits of this machine, measured now: G operations/s of a core, GB/s of the memory",
            ["threads", "fp32 core", "fp32 tiles", "int8 core", "int8 tiles", "memory"], text,
            ["core: multiply-adds on registers alone; tiles: the kernels' own in the first-level cache; memory: a "
             "copy, reads and writes. What a step finds in a cache can be beyond the memory's limit."])
    peaks = found.get(1) or b.attempt("peaks on 1 thread", peaks_of, 1)
    tables = [b.attempt(f"steps of {kind} {m['name']}", roofline_table, b, m, kind, peaks)
              for m in b.models for kind in EACH if peaks]
    b.figures["roofline"] = [t for t in tables if t]


# ---- the whole

def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown processor")
    load = os.getloadavg()[0]
    return {"cpu": name, "processors": len(os.sched_getaffinity(0)), "load": load,
            "onnxruntime": onnxruntime.__version__, "date": time.strftime("%Y-%m-%d", time.gmtime())}


def main():
    b = Bench(options())
    start, where = time.time(), machine()
    b.figures["machine"] = where
    print(f"{where['date']}, {where['cpu']}, {where['processors']} processors, load {where['load']:.1f}, "
          f"onnxruntime {where['onnxruntime']}\n")
    if where["load"] > 0.5:
        print("The machine is busy: times on several threads say little.\n")
    for m in b.models:
        b.attempt(f"quantizing {m['name']}", quantize_model, b, m)
    for part in b.args.parts:
        b.attempt(part, {"forward": forward, "calibration": calibration, "roofline": roofline}[part], b)
    met = sum(bar["met"] for bar in b.bars)
    for bar in b.bars:
        if not bar["met"]:
            print(f"missed: {bar['what']}: {bar['value']:.2f} of {bar['bar']}")
    if b.args.json:
        b.args.json.write_text(json.dumps({**b.figures, "bars": b.bars, "failed": b.failed}, indent=1) + "\n")
    print(f"{time.time() - start:.0f} s")
    print(f"bench: {met} bars met, {len(b.bars) - met} missed"
          + (f", {len(b.failed)} could not run" if b.failed else ""))
    return 1 if b.failed else 0


if __name__ == "__main__":
    sys.exit(main())
