# SPDX-License-Identifier: Apache-2.0
"""Whole quantized models, our integer run beside ONNX Runtime's.

usage: int8.py [-n SAMPLES] [FILE...]
FILE: a quantized model whose name starts with one of the names of models.json. Without files,
ONNX Runtime's own quantizer makes some in both formats. Prints the share of equal outputs, the
largest difference and the steps; fails when a QOperator model of a plain network differs."""
import argparse
import collections
import logging
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                      quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

import common

ort.set_default_logger_severity(3)
logging.disable(logging.WARNING)
ap = argparse.ArgumentParser()
ap.add_argument("-n", type=int, default=8)
ap.add_argument("files", nargs="*")
args = ap.parse_args()
# One flipped byte spreads, so only these must be equal to the last bit.
EXACT = ("cifar10-resnet20", "cifar10-repvgg", "tinyimagenet-mobilenet_v2", "tinyimagenet-resnet50")
CPU = open("/proc/cpuinfo").read()
VNNI = "avx512_vnni" in CPU or "avx_vnni" in CPU  # without: only 7-bit weights are exact there


class Reader(CalibrationDataReader):
    def __init__(self, name, x):
        self.it = iter([{name: x[i:i + 1]} for i in range(len(x))])

    def get_next(self):
        return next(self.it, None)


def make(model, folder):
    src = str(common.shared() / "models" / (model["name"] + ".onnx"))
    pre = str(folder / "pre.onnx")
    quant_pre_process(src, pre, skip_symbolic_shape=True)
    name = ort.InferenceSession(pre).get_inputs()[0].name
    for fmt in (QuantFormat.QDQ, QuantFormat.QOperator):
        for act in (QuantType.QInt8, QuantType.QUInt8):
            out = folder / f"{model['name']}.{fmt.name}.{act.name}.onnx"
            try:
                quantize_static(pre, str(out), Reader(name, common.inputs(model, 16, 100)),
                                quant_format=fmt, activation_type=act, weight_type=QuantType.QInt8,
                                per_channel=True, reduce_range=not VNNI)
                ort.InferenceSession(str(out))
            except Exception:  # opset 11 cannot hold per-channel Q/DQ
                continue
            yield out


def steps(path):
    out = subprocess.run([str(common.build("tests/run_model")), "--int", "--steps", str(path)],
                         capture_output=True, text=True, check=True).stdout
    count = collections.Counter()
    for line in out.splitlines():
        t = line.split()
        if t and t[0].isdigit():
            count[t[2] if t[1] == "float" else t[1]] += 1
    return " ".join(f"{k}:{v}" for k, v in count.most_common())


def compare(path, model):
    x = common.inputs(model, args.n)
    s = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    want = s.run(None, {s.get_inputs()[0].name: x})
    have = common.run_model(path, [x], len(want), ["--int"])
    equal = min(float((w == h).mean()) for w, h in zip(want, have))
    diff = max(float(np.abs(w - h).max()) for w, h in zip(want, have))
    top = max(float(np.abs(w).max()) for w in want)
    exact = ".QOperator." in path.name and model["name"] in EXACT
    ok = equal == 1.0 or not exact
    print(f"{path.name:52} {equal:8.4f} {diff:9.3g} {top:7.3g}{'' if ok else '  DIFFERS'}")
    print(f"    {steps(path)}")
    return ok


bad = 0
names = {m["name"]: m for m in common.models()}
print(f"{'model':52} {'equal':>8} {'largest':>9} {'of':>7}")
with tempfile.TemporaryDirectory() as d:
    if args.files:
        for f in args.files:
            base = os.path.basename(f)
            bad += not compare(pathlib.Path(f), next(m for k, m in names.items() if base.startswith(k)))
    else:
        for n in EXACT + ("cifar10-mobilenet_v3_small",):
            for f in make(names[n], pathlib.Path(d)):
                bad += not compare(f, names[n])
sys.exit(1 if bad else 0)
