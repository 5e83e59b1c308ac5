# SPDX-License-Identifier: Apache-2.0
"""Every emitted model: onnx.checker (full), strict shape inference, ONNX Runtime at its four
optimization levels, no QLinearSoftmax, no com.microsoft unless the target is ort.

usage: valid.py [--models A,B] [--calib N] [--method M] [--samples N]   fails when a model is bad.
Outputs of the four levels are compared by their largest difference to the unoptimized run."""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

import common

KINDS = [("portable", "qdq", ()), ("ort", "qdq", ()), ("tensorrt", "qdq", ()), ("ort", "qoperator", ()),
         ("ort", "qdq", ("--act", "s8")), ("ort", "qoperator", ("--act", "s8")), ("ort", "qdq", ("--per-tensor",)),
         ("portable", "qdq", ("--weight", "log2")), ("portable", "qdq", ("--weight", "log2x2")),
         ("portable", "qdq", ("--weight", "log2x16"))]
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"]

ap = argparse.ArgumentParser()
ap.add_argument("--models", default="")
ap.add_argument("--calib", type=int, default=16)
ap.add_argument("--samples", type=int, default=8)
ap.add_argument("--method", default="mse")
args = ap.parse_args()


def preprocess(name):
    if name.startswith("ultraface"):
        return ["--resize", "320x240", "--scale", "1/128", "--mean", "0.9921875", "--std", "1"]
    return [] if name.startswith("shakespeare") else ["--preprocess", "imagenet-norm"]


def command(*argv):
    p = subprocess.run([str(common.build("bin/quantize")), *map(str, argv)], capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(f"quantize exit {p.returncode}: {(p.stderr.strip().splitlines() or [''])[-1]}")


def problems(path, target, feeds):
    bad = []
    try:
        onnx.checker.check_model(str(path), full_check=True)
        onnx.shape_inference.infer_shapes(onnx.load(str(path)), check_type=True, strict_mode=True, data_prop=True)
    except Exception as e:  # the checker raises several kinds
        bad.append(f"checker: {str(e).strip().splitlines()[0]}")
    model = onnx.load(str(path))
    kinds = {(n.domain, n.op_type) for n in model.graph.node}
    if any(op == "QLinearSoftmax" for _, op in kinds):
        bad.append("has QLinearSoftmax")
    if target != "ort" and any(d not in ("", "ai.onnx") for d, _ in kinds):
        bad.append(f"has {sorted(d for d, _ in kinds if d)}")
    first, spread = None, 0.0
    for level in LEVELS:
        try:
            o = ort.SessionOptions()
            o.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
            o.log_severity_level = 3
            s = ort.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])
            outs = [s.run(None, {s.get_inputs()[0].name: x})[0] for x in feeds]
        except Exception as e:
            bad.append(f"{level}: {str(e).strip().splitlines()[0]}")
            continue
        if not all(np.isfinite(y).all() for y in outs):
            bad.append(f"{level}: output is not finite")
        first = first or outs
        spread = max([spread, *(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
                                for a, b in zip(first, outs))])
    return bad, spread


total = 0
with tempfile.TemporaryDirectory() as d:
    for m in common.models():
        name = m["name"]
        if args.models and name not in args.models.split(","):
            continue
        source, stats = common.shared() / "models" / (name + ".onnx"), f"{d}/{name}.h5"
        command("calibrate", source, "-d", common.shared() / m["calib"], "-n", args.calib, "-o", stats, "-q",
                *preprocess(name))
        x = common.inputs(m, args.samples)
        feeds = np.split(x, len(x)) if name.startswith("ultraface") else [x]
        for target, form, more in KINDS:
            path = pathlib.Path(d) / f"{name}.out.onnx"
            try:
                command("run", source, "--stats", stats, "--method", args.method, "--no-compare", "-q", "-f",
                        "-o", path, "--target", target, "--format", form, *more)
                bad, spread = problems(path, target, feeds)
            except RuntimeError as e:
                bad, spread = [str(e)], float("nan")
            total += bool(bad)
            print(f"{name:30} {target:9} {form:10} {' '.join(more):18} spread {spread:.1e}  "
                  f"{'; '.join(bad) or 'ok'}", flush=True)
sys.exit(1 if total else 0)
