#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random graphs (random_graphs.py) on this library, in double, and on ONNX Runtime.

random_run.py [--first SEED] [--count N] [--keep DIR] [-v]: seeds first .. first + N - 1. Each graph runs as it
was loaded on plain loops, and optimized with fusion on the machine's best instruction set and three threads;
both must be near the results in double: within 1e-4 of the largest value of an output, or no further off than
four times ONNX Runtime, which may not be far off itself. Integers and bool are equal. Every other case also runs upgraded to the newest opset.
Graphs that fail are written to DIR. The last line counts."""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import build  # noqa: E402
from random_graphs import make  # noqa: E402

WAYS = (["--no-passes", "--no-fuse", "--isa", "ref"], ["-j", "3"], ["-j", "2", "--upgrade", "21"])


def ours(model, feeds, outputs, options, folder):
    """Results by name, or the error."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    files = []
    for i, (_, a) in enumerate(feeds.items()):
        files.append(folder / f"in{i}.npy")
        np.save(files[-1], a)
    outs = [folder / f"out{i}.npy" for i in range(len(outputs))]
    r = subprocess.run([str(build("tests/run_model")), *options, str(path), *map(str, files), *map(str, outs)],
                       capture_output=True, text=True, timeout=60)
    if r.returncode:
        return r.stderr.strip() or f"died with {r.returncode}"
    return {o: np.load(f) for o, f in zip(outputs, outs)}


def onnxruntime(model, feeds, outputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        s = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(outputs, s.run(list(outputs), feeds)))
    except Exception:
        return None


def distance(got, want):
    return float(np.max(np.abs(got.astype(np.float64) - want))) if want.size else 0.0


def wrong(name, got, want, ort_value):
    """Why, or None."""
    if got.shape != want.shape:
        return f"{name}: shape {got.shape}, not {want.shape}"
    if want.dtype.kind != "f":
        return None if np.array_equal(got, want) else f"{name}: integers differ"
    if not np.all(np.isfinite(got)):
        return f"{name}: not finite"
    off = distance(got, want)
    bound = 1e-4 * max(1.0, float(np.max(np.abs(want))) if want.size else 0.0)
    if ort_value is not None:
        theirs = distance(ort_value, want) if ort_value.shape == want.shape else np.inf
        if theirs > 10 * bound:
            return f"{name}: ONNX Runtime is off by {theirs:.3g}: look at what double does"
        bound = max(bound, 4 * theirs)
    return None if off <= bound else f"{name}: off by {off:.3g}, allowed {bound:.3g}"


def check(seed, folder):
    """(errors, whether ONNX Runtime ran it, the model)"""
    model, feeds, want = make(seed)
    theirs = onnxruntime(model, feeds, want)
    errors = []
    for options in WAYS[:3 if seed % 2 else 2]:
        got = ours(model, feeds, want, options, folder)
        if isinstance(got, str):
            errors.append(f"{' '.join(options)}: {got}")
            continue
        for name, w in want.items():
            e = wrong(name, got[name], w, theirs[name] if theirs else None)
            if e:
                errors.append(f"{' '.join(options)}: {e}")
    return errors, theirs is not None, model


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--count", type=int, default=2000)
    p.add_argument("--keep", type=pathlib.Path)
    p.add_argument("-v", action="store_true")
    o = p.parse_args()
    failed, with_ort, ops = [], 0, {}
    with tempfile.TemporaryDirectory() as d:
        for seed in range(o.first, o.first + o.count):
            errors, ran, model = check(seed, pathlib.Path(d))
            with_ort += ran
            for n in model.graph.node:
                ops[n.op_type] = ops.get(n.op_type, 0) + 1
            if errors:
                failed.append(seed)
                print(f"seed {seed} (opset {model.opset_import[0].version}): {errors[0]}", flush=True)
                if o.keep:
                    o.keep.mkdir(exist_ok=True)
                    onnx.save(model, o.keep / f"seed{seed}.onnx")
    if o.v:
        print(" ".join(f"{k}:{v}" for k, v in sorted(ops.items())))
    print(f"random graphs: {o.count - len(failed)} of {o.count} agree (seeds {o.first} to {o.first + o.count - 1}; "
          f"{len(ops)} operator types; ONNX Runtime ran {with_ort})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
