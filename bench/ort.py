# SPDX-License-Identifier: Apache-2.0
"""Latency of whole models, fp32 and int8, beside ONNX Runtime on the same files.

usage: ort.py [-b BATCHES] [-j THREADS] [--rounds N] [--seconds S] [--int8 FOLDER] [MODEL...]
FOLDER holds <model>.int8.onnx as `quantize run` wrote them; without it only fp32 is measured.
Both sides take turns and the best run of each counts, so that other work on the machine weighs
little; with one thread it is processor time on both. The last column is our throughput as a share
of ONNX Runtime's (1: equal, 2: twice). bench/cpu.py (`make bench`) holds the same against the bars."""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "oracle"))
import common  # noqa: E402

ort.set_default_logger_severity(3)
MODELS = ("tinyimagenet-resnet50", "tinyimagenet-mobilenet_v2", "tinyimagenet-efficientnet_b0",
          "tinyimagenet-vit", "cifar10-convnext", "shakespeare-gpt")


def numbers(text):
    return [int(s) for s in text.split(",")]


def file_of(model, kind, folder):
    if kind == "fp32":
        return common.shared() / "models" / (model["name"] + ".onnx")
    return folder / (model["name"] + ".int8.onnx")


def program(path, feeds, threads, integer, nout, runs, more=()):
    """What tests/run_model prints."""
    kind = ["--int", "--float-out"] if integer else []
    return subprocess.run([str(common.build("tests/run_model")), *kind, *more, "-j", str(threads), "--time",
                           str(runs), str(path), *feeds, *["/dev/null"] * nout],
                          capture_output=True, text=True, check=True).stdout


def ours(path, feeds, threads, integer, nout, runs):
    """Best milliseconds of one round; the first run is not counted."""
    return float(re.search(r"([0-9.]+) ms at best", program(path, feeds, threads, integer, nout, runs + 1)).group(1))


def clock_of(threads):
    return time.thread_time if threads == 1 else time.perf_counter


def theirs(session, x, runs, threads):
    best, feed = 1e9, {session.get_inputs()[0].name: x}
    clock = clock_of(threads)
    for _ in range(runs + 1):
        t = clock()
        session.run(None, feed)
        best = min(best, clock() - t)
    return 1e3 * best


def session_of(path, threads):
    o = ort.SessionOptions()
    o.intra_op_num_threads = threads
    # its threads must not spin while ours run
    o.add_session_config_entry("session.intra_op.allow_spinning", "1")
    o.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def measure(path, model, batch, threads, integer, rounds=3, seconds=0.5):
    """Best milliseconds of a run: ours, theirs."""
    s = session_of(path, threads)
    x = common.inputs(model, batch)
    with tempfile.TemporaryDirectory() as d:
        np.save(f"{d}/x.npy", x)
        nout = len(s.get_outputs())
        first = theirs(s, x, 2, threads)
        runs = max(3, int(1e3 * seconds / first))
        a, b = [], []
        for _ in range(rounds):
            a.append(ours(path, [f"{d}/x.npy"], threads, integer, nout, runs))
            b.append(theirs(s, x, runs, threads))
    return min(a), min(b)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-b", type=numbers, default=[1, 16])
    ap.add_argument("-j", type=numbers, default=[1, 2])
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=0.5)
    ap.add_argument("--int8", type=pathlib.Path)
    ap.add_argument("models", nargs="*")
    args = ap.parse_args()
    print(f"onnxruntime {ort.__version__}; milliseconds, best of {args.rounds} rounds")
    print(f"{'model':30} {'kind':5} {'batch':>5} {'threads':>7} {'ours':>9} {'ORT':>9} {'share':>6}")
    for m in common.models():
        if m["name"] not in (args.models or MODELS):
            continue
        for kind in ["fp32", "int8"] if args.int8 else ["fp32"]:
            for batch in args.b:
                for threads in args.j:
                    a, b = measure(file_of(m, kind, args.int8), m, batch, threads, kind == "int8", args.rounds,
                                   args.seconds)
                    print(f"{m['name']:30} {kind:5} {batch:5} {threads:7} {a:9.3f} {b:9.3f} {b / a:6.2f}", flush=True)


if __name__ == "__main__":
    main()
