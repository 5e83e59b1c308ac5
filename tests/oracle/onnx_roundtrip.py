# SPDX-License-Identifier: Apache-2.0
"""Checks models that ptq loaded and saved again against the originals.

usage: onnx_roundtrip.py [--run] ORIGINAL SAVED [ORIGINAL SAVED ...]

Every message must be equal, up to tensors that moved between the file and external data; SAVED
must pass the full check of onnx; with --run both give the same bytes in ONNX Runtime."""
import sys

import numpy as np
import onnx



def run(path, feeds=None):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if feeds is None:
        rng, feeds = np.random.default_rng(1), {}
        for i in session.get_inputs():
            shape = [d if isinstance(d, int) else 2 for d in i.shape]
            if i.type == "tensor(float)":
                feeds[i.name] = rng.standard_normal(shape, dtype=np.float32)
            else:
                feeds[i.name] = rng.integers(0, 8, shape).astype(
                    {"tensor(int64)": np.int64, "tensor(int32)": np.int32}[i.type])
    return feeds, session.run(None, feeds)


def main():
    args = sys.argv[1:]
    with_run = args[:1] == ["--run"]
    args = args[1:] if with_run else args
    bad = 0
    for original, saved in zip(args[::2], args[1::2]):
        a, b = onnx.load(original), onnx.load(saved)
        for m in (a, b):
            for t in m.graph.initializer:
                del t.external_data[:]
                t.ClearField("data_location")
        problems = []
        if a.SerializeToString(deterministic=True) != b.SerializeToString(deterministic=True):
            problems.append("messages differ")
        try:
            onnx.checker.check_model(saved, full_check=True)
        except Exception as e:  # the checker raises several kinds
            problems.append(f"checker: {e}")
        if with_run:
            feeds, want = run(original)
            _, got = run(saved, feeds)
            if any(w.tobytes() != g.tobytes() for w, g in zip(want, got)):
                problems.append("outputs differ")
        print(f"{saved}: {'; '.join(problems) or 'equal'}")
        bad += bool(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
