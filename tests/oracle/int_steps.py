# SPDX-License-Identifier: Apache-2.0
"""Near ties: single integer operators against ONNX Runtime, byte by byte, with scales that are
small multiples of one unit, so that half-way values are frequent and a misplaced rounding or
fused multiply-add shows. Random scales hardly ever tell two laws apart (doc/numerics.md).

usage: int_steps.py [-n CASES] [-s SEED] [--isa NAME] [KIND...]   fails when a byte differs"""
import argparse
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from onnx import helper as h
from onnx import numpy_helper as nh

import common

ap = argparse.ArgumentParser()
ap.add_argument("-n", type=int, default=20)
ap.add_argument("-s", type=int, default=1)
ap.add_argument("--isa")
ap.add_argument("kinds", nargs="*")
args = ap.parse_args()
rng = np.random.default_rng(args.s)
MS = "com.microsoft"
F = np.float32
# without VNNI, ONNX Runtime's u8 x s8 products saturate in 16 bits: only |w| <= 64 is exact there
FLAGS = open("/proc/cpuinfo").read()
WMAX = 127 if "avx512_vnni" in FLAGS or "avx_vnni" in FLAGS else 64


def whole(lo, hi):
    return int(rng.integers(lo, hi + 1))


def data(t, shape):
    i = np.iinfo(t)
    v = rng.integers(i.min, i.max + 1, shape)
    if rng.random() < 0.2:  # only the two ends
        v = np.where(rng.random(shape) < 0.5, i.min, i.max)
    return v.astype(t)


def zero(t):
    i = np.iinfo(t)
    return np.array(rng.choice([i.min, i.max, 0, rng.integers(i.min, i.max + 1)]), t)


def tied(k):
    """Scales of two factors and their result: (a b / y) is 1 / (2 t), t of the size of the sum."""
    u, v = F(rng.uniform(.002, .02)), F(rng.uniform(.002, .02))
    a, b = F(whole(1, 9) * u), F(whole(1, 9) * v)
    t = max(1, whole(1, 12) * int(np.sqrt(k)) * 8)
    return a, b, F(F(a * b) * F(2 * t))


def weight(x, shape):
    if x == np.uint8 and rng.random() < 0.3:
        return data(np.uint8, shape), zero(np.uint8)
    m = WMAX if x == np.uint8 else 127
    w = rng.integers(-m, m + 1, shape).astype(np.int8)
    return w, np.int8(0)


def conv(x):
    g = int(rng.choice([1, 1, 1, 2, 4]))
    ci, co = g * whole(1, 20), g * whole(1, 40)
    if rng.random() < 0.3:
        g = ci = co = whole(1, 70)
    k = [whole(1, 4), whole(1, 4)]
    d = [whole(1, 2), whole(1, 2)]
    hw = [whole(8, 12), whole(8, 12)]
    w, wz = weight(x, (co, ci // g, *k))
    sx, sw, sy = tied(ci // g * k[0] * k[1])
    per = rng.random() < 0.5 and w.dtype == np.int8
    ws = F(rng.integers(1, 9, co)) * sw if per else sw
    wz = np.zeros(co, np.int8) if per else wz
    b = rng.integers(-20000, 20000, co).astype(np.int32)
    return ("QLinearConv", "", [data(x, (whole(1, 3), ci, *hw))],
            ["$0", sx, zero(x), w, ws, wz, sy, zero(x), b],
            dict(group=g, kernel_shape=k, dilations=d, strides=[whole(1, 2), whole(1, 2)],
                 pads=[whole(0, v) for v in k * 2]), x)


def matmul(x):
    m, k, n = whole(1, 30), whole(1, 200), whole(1, 90)
    sa, sb, sy = tied(k)
    if rng.random() < 0.5:
        b, bz = weight(x, (k, n))
        feeds, name = [data(x, (2, m, k))], b
    else:
        # two computed sides: u8 x u8 or s8 x s8, which ONNX Runtime multiplies exactly
        feeds, name, bz = [data(x, (2, m, k)), data(x, (2, k, n))], "$1", zero(x)
    return "QLinearMatMul", "", feeds, ["$0", sa, zero(x), name, sb, bz, sy, zero(x)], {}, x


def gemm(x):
    m, k, n, tb = whole(1, 30), whole(1, 200), whole(1, 90), whole(0, 1)
    sa, sb, sy = tied(k)
    b, bz = weight(x, (n, k) if tb else (k, n))
    c = rng.integers(-20000, 20000, n).astype(np.int32)
    return "QGemm", MS, [data(x, (m, k))], ["$0", sa, zero(x), b, sb, bz, c, sy, zero(x)], dict(transB=tb), x


SHAPES = [((2, 9, 7, 31), (2, 9, 7, 31)), ((2, 30, 40), (30, 1)), ((30, 1), (2, 30, 40)),
          ((1,), (1,)), ((1,), (2, 300)), ((2, 300), (1,)), ((4, 30, 1, 1), (1, 30, 1, 1)),
          ((4, 1, 1, 1), (1, 30, 1, 1)), ((40, 5, 1), (40, 1, 30)), ((2, 8, 6, 5), (2, 8, 1, 1)),
          ((2, 8, 1, 1), (2, 8, 6, 5)), ((70,), (3, 70))]


def add(x):
    u = F(rng.uniform(.0005, .002))
    i, j, k = whole(1, 20), whole(1, 20), 2 * whole(1, 20)
    k = max(k, 2 * max(i, j) - 2 * whole(0, max(i, j) // 2))
    a, b = SHAPES[whole(0, len(SHAPES) - 1)]
    return ("QLinearAdd", MS, [data(x, a), data(x, b)],
            ["$0", F(i * u), zero(x), "$1", F(j * u), zero(x), F(k * u), zero(x)], {}, x)


def mul(x):
    a, b = SHAPES[whole(0, len(SHAPES) - 1)]
    sa, sb, sy = tied(16)
    return ("QLinearMul", MS, [data(x, a), data(x, b)],
            ["$0", sa, zero(x), "$1", sb, zero(x), sy, zero(x)], {}, x)


def average(x):
    k = [whole(1, 4), whole(1, 4)]
    s = F(rng.uniform(.01, .1))
    sy = F(s * F(rng.choice([.5, 1, 2, 2 / 3, .7, .25])))
    return ("QLinearAveragePool", MS, [data(x, (2, whole(1, 70), whole(5, 12), whole(5, 12)))],
            ["$0", s, zero(x), sy, zero(x)],
            dict(kernel_shape=k, strides=[whole(1, 2), whole(1, 2)], pads=[whole(0, v - 1) for v in k * 2],
                 count_include_pad=whole(0, 1)), x)


def global_average(x):
    s = F(rng.uniform(.01, .1))
    sy = F(s * F(rng.choice([.5, 1, 2, 2 / 3, .7, .25])))
    return ("QLinearGlobalAveragePool", MS, [data(x, (2, whole(1, 70), whole(1, 12), whole(1, 12)))],
            ["$0", s, zero(x), sy, zero(x)], {}, x)


def concat(x):
    s = F(rng.uniform(.01, .1))
    feeds, ins = [], [F(s * 2), zero(x)]
    for i in range(3):
        feeds.append(data(x, (2, whole(1, 20), 5, 6)))
        ins += [f"${i}", F(s * whole(1, 6)), zero(x)]
    return "QLinearConcat", MS, feeds, ins, dict(axis=1), x


def quantize(x):
    s = F(rng.uniform(.001, .1))
    v = (rng.integers(-400, 400, (2, 5, 30, 7)) * F(.5) * s).astype(np.float32)
    v.flat[:4] = [np.inf, -np.inf, np.nan, 3e38]
    return "QuantizeLinear", "", [v], ["$0", s, zero(x)], {}, x


def dequantize(x):
    s = F(rng.uniform(.001, .1))
    return "DequantizeLinear", "", [data(x, (2, 5, 30, 7))], ["$0", s, zero(x)], {}, np.float32


KINDS = {f.__name__: f for f in (conv, matmul, gemm, add, mul, average, global_average, concat,
                                 quantize, dequantize)}


def both(op, domain, feeds, ins, attrs, out):
    """(ONNX Runtime's output, ours)"""
    names, inits = [], []
    for i, v in enumerate(ins):
        if isinstance(v, str):
            names.append("x" + v[1:])
        else:
            names.append(f"c{i}")
            inits.append(nh.from_array(np.asarray(v), names[-1]))
    ty = lambda a: h.np_dtype_to_tensor_dtype(np.dtype(a))
    infos = [h.make_tensor_value_info(f"x{i}", ty(v.dtype), v.shape) for i, v in enumerate(feeds)]
    g = h.make_graph([h.make_node(op, names, ["y"], domain=domain, **attrs)], "g", infos,
                     [h.make_tensor_value_info("y", ty(out), None)], inits)
    m = h.make_model(g, opset_imports=[h.make_opsetid("", 13), h.make_opsetid(MS, 1)], ir_version=8)
    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.log_severity_level = 3
    s = ort.InferenceSession(m.SerializeToString(), o, providers=["CPUExecutionProvider"])
    want = s.run(None, {f"x{i}": v for i, v in enumerate(feeds)})[0]
    options = ["--int", "--no-passes"] + (["--isa", args.isa] if args.isa else [])
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        f.write(m.SerializeToString())
        f.flush()
        return want, common.run_model(f.name, feeds, 1, options)[0]


bad = 0
print(f"onnxruntime {ort.__version__}, weights to {WMAX}")
print(f"{'step':16} {'cases':>6} {'bytes':>9} {'differ':>7}")
for name, make in KINDS.items():
    if args.kinds and name not in args.kinds:
        continue
    total = differ = 0
    for i in range(args.n):
        want, have = both(*make([np.uint8, np.int8][i % 2]))
        assert want.shape == have.shape and want.dtype == have.dtype
        total += want.size
        differ += int((want != have).sum())
    bad += differ != 0
    print(f"{name:16} {args.n:6} {total:9} {differ:7}{'  DIFFERS' if differ else ''}", flush=True)
sys.exit(1 if bad else 0)
