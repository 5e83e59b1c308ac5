# SPDX-License-Identifier: Apache-2.0
"""Calibration of one model, ours and ONNX Runtime's own, on the same preprocessed samples in memory.

Neither side's time holds the decoding of images, loading the model or making the session; both hold
joining samples to batches, the runs, the histograms and the ranges that come of them."""
import contextlib
import io
import pathlib
import re
import subprocess
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

import ort


def ours(path, samples, batch, threads, rounds, method):
    """Least seconds of the rounds: forward (with reading), calibration, ranges; and the tensors."""
    program = [str(ort.common.build("bench/bench_calib")), "-m", str(path), "-x", str(samples), "-d", "cpu", "-s", "0"]
    out = subprocess.run([*program, "-b", str(batch), "-t", str(threads), "-r", str(rounds), "-M", method],
                         capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(\d+) tensors, [0-9.]+ million values: read ([0-9.]+) s, forward ([0-9.]+) s, .* together ([0-9.]+) s; "
                       r"ranges \(\w+\) ([0-9.]+) s", out)
    rows = [(float(read) + float(run), float(all_), float(solve)) for _, read, run, all_, solve in found]
    forward, calibration, ranges = (min(column) for column in zip(*rows))
    return {"tensors": int(found[0][0]), "forward_s": forward, "calibration_s": calibration, "ranges_s": ranges}


CHUNK = 64  # samples whose tensors ONNX Runtime keeps at a time, before it counts them


class Reader(CalibrationDataReader):
    """Batches of an array, as one pass."""

    def __init__(self, name, x, batch):
        self.feeds = iter([{name: x[i:i + batch]} for i in range(0, len(x), batch)])

    def get_next(self):
        return next(self.feeds, None)


def prepared(path, folder):
    """The model as ONNX Runtime wants it before quantization: optimized, shapes inferred."""
    ready = folder / (pathlib.Path(path).stem + ".ort.onnx")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    return ready


PRODUCTS = ["Conv", "Gemm", "MatMul"]


def theirs(ready, x, batch, threads, method):
    """Seconds and tensors: those that quantize_static would observe, or, where one of them is infinite (the masks of
    shakespeare-gpt), at which ONNX Runtime stops, the operands and results of products alone."""
    try:
        return collect(ready, x, batch, threads, method, list({*QLinearOpsRegistry, *QDQRegistry}))
    except ValueError:
        return collect(ready, x, batch, threads, method, PRODUCTS)


def collect(ready, x, batch, threads, method, operators):
    with tempfile.TemporaryDirectory() as d:
        c = create_calibrator(ready, operators, f"{d}/augmented.onnx", getattr(CalibrationMethod, method))
        # the session as it makes it, with our number of threads
        o = onnxruntime.SessionOptions()
        o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        o.intra_op_num_threads = threads
        c.infer_session = onnxruntime.InferenceSession(f"{d}/augmented.onnx", o, providers=["CPUExecutionProvider"])
        name, clock = c.infer_session.get_inputs()[0].name, ort.clock_of(threads)
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it does
            t = clock()
            for at in range(0, len(x), CHUNK):
                c.collect_data(Reader(name, x[at:at + CHUNK], batch))
            ranges = c.compute_data()
            return clock() - t, len(ranges.data)


def samples_of(model, n, folder):
    """Calibration samples: the array, and the file that our program reads."""
    x = np.ascontiguousarray(ort.common.inputs(model, n, calib=True))
    path = folder / f"{model['name']}.npy"
    np.save(path, x)
    return x, path
