# SPDX-License-Identifier: Apache-2.0
"""Single integer operators with random shapes and parameters, against ONNX Runtime byte by byte.

usage: steps.py [-n CASES] [-s SEED] [KIND...]   prints a table; fails when a byte differs
(table lookups of transcendental functions: off by one in at most 1 of 10,000)."""
import argparse
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import common

ap = argparse.ArgumentParser()
ap.add_argument("-n", type=int, default=20)
ap.add_argument("-s", type=int, default=1)
ap.add_argument("-v", action="store_true")
ap.add_argument("kinds", nargs="*")
args = ap.parse_args()
rng = np.random.default_rng(args.s)
MS = "com.microsoft"
# Without VNNI, ONNX Runtime adds u8 x s8 products in saturating 16-bit pairs: only 7-bit weights
# are exact there.
CPU = open("/proc/cpuinfo").read()
WMAX = 127 if "avx512_vnni" in CPU or "avx_vnni" in CPU else 64


class Case:
    """One node, its constants, its inputs."""

    def __init__(self, signed):
        self.t = np.int8 if signed else np.uint8
        self.inits, self.feeds, self.names = [], {}, {}

    def const(self, name, a):
        self.inits.append(nh.from_array(np.asarray(a), name))
        return name

    def weight(self, shape, t=np.int8):
        """Random weights that ONNX Runtime multiplies exactly on this machine."""
        m = WMAX if self.t is np.uint8 and t is np.int8 else 127
        return rng.integers(-m, m + 1, shape).astype(t) if t is np.int8 else \
            rng.integers(0, 256, shape).astype(t)

    def feed(self, name, shape, t=None):
        i = np.iinfo(t or self.t)
        self.feeds[name] = rng.integers(i.min, i.max + 1, shape).astype(t or self.t)
        return name

    def affine(self, name, scale=None, n=None, t=None):
        """Scale and zero point constants of one tensor."""
        i = np.iinfo(t or self.t)
        s = np.exp(rng.uniform(-4, 0, n)).astype(np.float32) if scale is None else np.float32(scale)
        z = np.zeros(n, t) if n else np.array(rng.integers(i.min, i.max + 1), t or self.t)
        return [self.const(name + "_s", s), self.const(name + "_z", z)]

    def run(self, node, t=None):
        out = h.make_tensor_value_info("y", h.np_dtype_to_tensor_dtype(np.dtype(t or self.t)), None)
        ins = [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(v.dtype), v.shape)
               for k, v in self.feeds.items()]
        g = h.make_graph([node], "g", ins, [out], self.inits)
        m = h.make_model(g, opset_imports=[h.make_opsetid("", 13), h.make_opsetid(MS, 1)],
                         ir_version=8)
        b = m.SerializeToString()
        o = ort.SessionOptions()
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        o.log_severity_level = 3
        want = ort.InferenceSession(b, o, providers=["CPUExecutionProvider"]).run(None, self.feeds)[0]
        with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
            f.write(b)
            f.flush()
            have = common.run_model(f.name, list(self.feeds.values()), 1,
                                    ["--int", "--no-passes"])[0]
        assert want.shape == have.shape and want.dtype == have.dtype, (want.shape, have.shape,
                                                                       want.dtype, have.dtype)
        return want, have


def pick(*a):
    return int(rng.choice(a))


def conv(c):
    g = pick(1, 1, 1, 2, 4)
    ci, co, k = g * pick(1, 2, 3, 8, 16), g * pick(1, 2, 3, 8, 16), pick(1, 2, 3, 5)
    if rng.random() < 0.3:
        g = co = ci = pick(3, 8, 16, 33)
    hw = pick(5, 7, 8, 14)
    x = c.feed("x", (pick(1, 2, 3), ci, hw, hw + 1))
    w = c.weight((co, ci // g, k, k))
    ws = np.exp(rng.uniform(-5, -3, co)).astype(np.float32)
    per = rng.random() < 0.7
    xs = c.affine("x")
    ys = c.affine("y", rng.uniform(0.5, 2) * k * np.sqrt(ci / g))
    wsc = [c.const("w_s", ws if per else ws[0]),
           c.const("w_z", np.zeros(co, np.int8) if per else np.int8(0))]
    ins = [x, *xs, c.const("w", w), *wsc, *ys]
    if rng.random() < 0.7:
        ins.append(c.const("b", rng.integers(-20000, 20000, co).astype(np.int32)))
    s, d = pick(1, 2), pick(1, 1, 2)
    pads = [int(p) for p in rng.integers(0, k, 4)]
    while min(hw, hw) + min(pads) < (k - 1) * d + 1:
        d, pads = 1, [k - 1] * 4
    return c.run(h.make_node("QLinearConv", ins, ["y"], group=g, strides=[s, pick(1, 2)],
                             dilations=[d, d], pads=pads, kernel_shape=[k, k]))


def matmul(c):
    m, k, n = pick(1, 3, 7, 17, 33), pick(1, 4, 16, 33, 130), pick(1, 5, 16, 40)
    lead = [(), (2,), (2, 3)][pick(0, 1, 2)]
    a = c.feed("a", (*lead, m, k))
    ys = c.affine("y", 0.2 * np.sqrt(k))
    if rng.random() < 0.5:
        wt = np.int8 if c.t is np.int8 or rng.random() < 0.5 else np.uint8
        b = c.const("b", c.weight((k, n), wt))
        per = rng.random() < 0.5
        bs = [c.const("b_s", np.exp(rng.uniform(-5, -3, n if per else None)).astype(np.float32)),
              c.const("b_z", np.zeros(n, wt) if per else wt(3))]
    else:
        b = c.feed("b", (*lead, k, n))
        bs = c.affine("b")
    return c.run(h.make_node("QLinearMatMul", [a, *c.affine("a"), b, *bs, *ys], ["y"]))


def gemm(c):
    m, k, n = pick(1, 3, 7, 17), pick(1, 4, 16, 33, 130), pick(1, 5, 16, 40)
    trans = pick(0, 1)
    b = c.weight((n, k) if trans else (k, n))
    per = rng.random() < 0.5
    bs = [c.const("b_s", np.exp(rng.uniform(-5, -3, n if per else None)).astype(np.float32)),
          c.const("b_z", np.zeros(n, np.int8) if per else np.int8(0))]
    ins = [c.feed("a", (m, k)), *c.affine("a"), c.const("b", b), *bs]
    ins.append(c.const("c", rng.integers(-5000, 5000, n).astype(np.int32))
               if rng.random() < 0.7 else "")
    f = rng.random() < 0.3
    if not f:
        ins += c.affine("y", 0.2 * np.sqrt(k))
    return c.run(h.make_node("QGemm", ins, ["y"], domain=MS, transB=trans), np.float32 if f else None)


def binary(op):
    def go(c):
        n, ch, hw = pick(1, 2), pick(1, 3, 16, 31), pick(1, 5, 8)
        full = (n, ch, hw, hw)
        other = [full, (1, ch, 1, 1), (ch, 1, 1), (1,), (n, ch, 1, 1), (hw,)][pick(0, 0, 1, 2, 3, 4, 5)]
        a, b = (full, other) if rng.random() < 0.7 else (other, full)
        return c.run(h.make_node(op, [c.feed("a", a), *c.affine("a"), c.feed("b", b), *c.affine("b"),
                                      *c.affine("y", rng.uniform(0.2, 2))], ["y"], domain=MS))
    return go


def avgpool(c):
    k, s = pick(1, 2, 3), pick(1, 2)
    p = [int(v) for v in rng.integers(0, k, 4)]
    x = c.feed("x", (pick(1, 2), pick(1, 3, 16, 40), pick(5, 8), pick(5, 9)))
    return c.run(h.make_node("QLinearAveragePool", [x, *c.affine("x"), *c.affine("y", 0.3)], ["y"],
                             domain=MS, kernel_shape=[k, k], strides=[s, s], pads=p,
                             count_include_pad=pick(0, 1)))


def globalavgpool(c):
    x = c.feed("x", (pick(1, 2), pick(1, 3, 16, 40), pick(1, 5, 8), pick(1, 5, 9)))
    return c.run(h.make_node("QLinearGlobalAveragePool", [x, *c.affine("x"), *c.affine("y", 0.2)],
                             ["y"], domain=MS))


def concat(c):
    ax = pick(0, 1, 2, 3)
    ins = [*c.affine("y", 0.3)]
    base = [pick(1, 2), pick(1, 3, 16), pick(1, 4), pick(1, 5)]
    for i in range(pick(1, 2, 3)):
        base[ax] = pick(1, 2, 7)
        ins += [c.feed(f"x{i}", tuple(base)), *c.affine(f"x{i}")]
    return c.run(h.make_node("QLinearConcat", ins, ["y"], domain=MS, axis=ax))


def unary(op):
    def go(c):
        x = c.feed("x", (3, 1000))
        y = c.affine("y", 1 / 256) if op == "QLinearSigmoid" else c.affine("y", 0.2)
        return c.run(h.make_node(op, [x, *c.affine("x"), *y], ["y"], domain=MS))
    return go


def maxpool(c):
    k = pick(1, 2, 3)
    x = c.feed("x", (pick(1, 2), pick(1, 3, 16, 40), pick(5, 8), pick(5, 9)))
    return c.run(h.make_node("MaxPool", [x], ["y"], kernel_shape=[k, k], strides=[pick(1, 2)] * 2,
                             pads=[int(v) for v in rng.integers(0, k, 4)]))


def mover(c):
    x = c.feed("x", (2, 3, 4, 5))
    i = pick(0, 1, 2, 3)
    if i == 0:
        return c.run(h.make_node("Transpose", [x], ["y"], perm=[int(v) for v in rng.permutation(4)]))
    if i == 1:
        return c.run(h.make_node("Reshape", [x, c.const("s", np.array([6, -1], np.int64))], ["y"]))
    if i == 2:
        idx = rng.integers(-3, 3, (2, 2)).astype(np.int64)
        return c.run(h.make_node("Gather", [x, c.const("i", idx)], ["y"], axis=1))
    lo, hi = np.array([1, 4], np.int64), np.array([3, 0], np.int64)
    return c.run(h.make_node("Slice", [x, c.const("lo", lo), c.const("hi", hi),
                                       c.const("ax", np.array([2, 3], np.int64)),
                                       c.const("st", np.array([1, -2], np.int64))], ["y"]))


def quantize(c):
    x = rng.normal(0, 3, (2, 5, 7, 3)).astype(np.float32)
    x.flat[:4] = [0.5, 1.5, -0.5, 1e9]
    c.feeds["x"] = x
    n = 5 if rng.random() < 0.5 else None
    if n is None:
        return c.run(h.make_node("QuantizeLinear", ["x", *c.affine("y")], ["y"]))
    return c.run(h.make_node("QuantizeLinear", ["x", *c.affine("y", n=n, t=c.t)], ["y"], axis=1))


def dequantize(c):
    x = c.feed("x", (2, 5, 7, 3))
    n = 5 if rng.random() < 0.5 else None
    aff = c.affine("y") if n is None else c.affine("y", n=n, t=c.t)
    return c.run(h.make_node("DequantizeLinear", [x, *aff], ["y"], axis=1), np.float32)


KINDS = {"QLinearConv": conv, "QLinearMatMul": matmul, "QGemm": gemm,
         "QLinearAdd": binary("QLinearAdd"), "QLinearMul": binary("QLinearMul"),
         "QLinearAveragePool": avgpool, "QLinearGlobalAveragePool": globalavgpool,
         "QLinearConcat": concat, "QLinearSigmoid": unary("QLinearSigmoid"),
         "QLinearLeakyRelu": unary("QLinearLeakyRelu"), "MaxPool": maxpool, "movers": mover,
         "QuantizeLinear": quantize, "DequantizeLinear": dequantize}
TABLES = ("QLinearSigmoid",)

bad = 0
print(f"{'step':26} {'cases':>6} {'elements':>9} {'differ':>7} {'largest':>8}")
for name, fn in KINDS.items():
    if args.kinds and name not in args.kinds:
        continue
    total = differ = 0
    largest = 0.0
    for i in range(args.n):
        want, have = fn(Case(signed=bool(i % 2)))
        d = np.abs(want.astype(np.float64) - have.astype(np.float64))
        total += d.size
        differ += int((d > 0).sum())
        largest = max(largest, float(d.max(initial=0)))
        if args.v and d.any():
            print("  case", i, want.shape, int((d > 0).sum()), float(d.max()))
    ok = largest <= 1 and differ <= total / 10000 if name in TABLES else differ == 0
    bad += not ok
    print(f"{name:26} {args.n:6} {total:9} {differ:7} {largest:8g}{'' if ok else '  DIFFERS'}")
sys.exit(1 if bad else 0)
