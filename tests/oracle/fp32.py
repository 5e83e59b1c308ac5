# SPDX-License-Identifier: Apache-2.0
"""fp32 outputs of all models against ONNX Runtime: at most 1e-4 of the largest output value.

usage: fp32.py [-n SAMPLES] [MODEL...]   prints a table; fails when a model is off."""
import argparse
import sys

import numpy as np
import onnxruntime as ort

import common

ort.set_default_logger_severity(3)

ap = argparse.ArgumentParser()
ap.add_argument("-n", type=int, default=4)
ap.add_argument("models", nargs="*")
args = ap.parse_args()

bad = 0
print(f"{'model':32} {'samples':>7} {'largest':>10} {'difference':>10} {'relative':>10}")
for m in common.models():
    if args.models and m["name"] not in args.models:
        continue
    path = common.shared() / "models" / (m["name"] + ".onnx")
    sess = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batched = not isinstance(sess.get_inputs()[0].shape[0], int)
    x = common.inputs(m, args.n)
    worst = (0.0, 0.0, 0.0)
    for part in [x] if batched else np.split(x, len(x)):
        want = sess.run(None, {sess.get_inputs()[0].name: part})
        have = common.run_model(path, [part], len(want))
        for w, h in zip(want, have):
            assert w.shape == h.shape and w.dtype == h.dtype, (m["name"], w.shape, h.shape)
            top, diff = float(np.abs(w).max()), float(np.abs(w - h).max())
            worst = max(worst, (diff / top, diff, top))
    ok = worst[0] <= 1e-4
    bad += not ok
    print(f"{m['name']:32} {len(x):7} {worst[2]:10.4f} {worst[1]:10.2e} {worst[0]:10.2e}"
          f"{'' if ok else '  TOO LARGE'}")
sys.exit(1 if bad else 0)
