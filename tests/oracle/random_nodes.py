# SPDX-License-Identifier: Apache-2.0
"""Random nodes against ONNX Runtime: every family of operators with random shapes and attributes.

usage: random_nodes.py [-n CASES] [-s SEED] [OPERATOR...]   fails when a result differs
A case is named by its seed and number: the same two give the same case on every machine."""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import save

BUILD = os.environ.get("PTQ_BUILD", ".")
ap = argparse.ArgumentParser()
ap.add_argument("-n", type=int, default=2000)
ap.add_argument("-s", type=int, default=1)
ap.add_argument("-v", action="store_true")
ap.add_argument("only", nargs="*")
args = ap.parse_args()
rng = np.random.default_rng(args.s)
F, I64, I32, U8, S8 = np.float32, np.int64, np.int32, np.uint8, np.int8


def whole(lo, hi):
    return int(rng.integers(lo, hi + 1))


def pick(*items):
    return items[whole(0, len(items) - 1)]


def maybe(p=0.5):
    return rng.random() < p


def reals(*shape):
    return rng.standard_normal(shape).astype(F)


def ints(lo, hi, *shape, t=I64):
    return rng.integers(lo, hi + 1, shape).astype(t)


def shape_of(rank, most=6):
    return [whole(1, most) for _ in range(rank)]


def values(shape, t=None):
    t = t or pick(F, F, F, I64, I32, U8, S8)
    return reals(*shape) if t == F else ints(0 if t == U8 else -9, 99, *shape, t=t)


def axis_of(rank):
    return whole(-rank, rank - 1)


def spatial():
    return pick(1, 2, 2, 2, 3)


# Each function returns (inputs, attributes, number of outputs); an input is an array or None.

def window(nd, size, dil_ok=True):
    k = [whole(1, min(4, n)) for n in size]
    d = [whole(1, 2) if dil_ok else 1 for _ in size]
    d = [1 if (a - 1) * b + 1 > n else b for a, b, n in zip(k, d, size)]
    a = dict(kernel_shape=k, strides=[whole(1, 3) for _ in size])
    if dil_ok:
        a["dilations"] = d
    mode = pick("pads", "pads", "none", "VALID", "SAME_UPPER", "SAME_LOWER")
    if mode == "pads":
        a["pads"] = [whole(0, n - 1) for n in k] + [whole(0, n - 1) for n in k]
    elif mode != "none":
        a["auto_pad"] = mode
        if mode.startswith("SAME"):  # a window below its stride: ONNX Runtime cuts in some kernels
            a.pop("dilations", None)
            a["strides"] = [min(s, n) for s, n in zip(a["strides"], k)]
    return a


def conv():
    nd, g = spatial(), pick(1, 1, 2, 3)
    size = [whole(4, 9) for _ in range(nd)]
    a = window(nd, size)
    c, m = g * whole(1, 3), g * whole(1, 3)
    ins = [reals(whole(1, 2), c, *size), reals(m, c // g, *a["kernel_shape"])]
    return ins + ([reals(m)] if maybe() else []), dict(a, group=g), 1


def conv_transpose():
    nd, g = spatial(), pick(1, 1, 2)
    size = [whole(2, 6) for _ in range(nd)]
    k = [whole(1, 4) for _ in size]
    a = dict(kernel_shape=k, strides=[whole(1, 3) for _ in size], group=g)
    if maybe():
        a["pads"] = [whole(0, (n - 1) // 2) for n in k] * 2
        a["output_padding"] = [whole(0, s - 1) for s in a["strides"]]
    elif maybe():
        a["auto_pad"] = pick("SAME_UPPER", "SAME_LOWER", "VALID")
    else:
        a["dilations"] = [whole(1, 2) for _ in size]
    c, m = g * whole(1, 3), whole(1, 3)
    return [reals(whole(1, 2), c, *size), reals(c, m, *k)] + ([reals(m * g)] if maybe() else []), a, 1


def pool(op):
    def make():
        nd = spatial()
        size = [whole(4, 9) for _ in range(nd)]
        a = window(nd, size, dil_ok=op == "MaxPool" and maybe())
        n = 1
        if op == "MaxPool":
            a["storage_order"] = whole(0, 1) if nd > 1 else 0
            n = 2
        elif op == "AveragePool":
            a["count_include_pad"] = whole(0, 1)
        else:
            a["p"] = whole(1, 3)
        return [reals(whole(1, 2), whole(1, 3), *size)], a, n
    return make


def reduce(op):
    def make():
        x = values(shape_of(whole(1, 4)), pick(F, F, I32, I64) if op in INT_REDUCE else F)
        if op in ("ReduceLogSum", "ReduceL2"):
            x = np.abs(x) + F(0.1)
        axes = sorted(set(ints(0, x.ndim - 1, whole(1, x.ndim)).tolist()))
        axes = [a - x.ndim if maybe(0.3) else a for a in axes]
        a = dict(keepdims=whole(0, 1))
        if op == "ReduceSum":
            return [x] + ([np.array(axes, I64)] if maybe(0.8) else []), a, 1
        return [x], dict(a, **({"axes": axes} if maybe(0.8) else {})), 1
    return make


INT_REDUCE = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceSumSquare", "ReduceL1")


def arg(op):
    def make():
        x = values(shape_of(whole(1, 4)), pick(F, I32, U8))
        return [x], dict(axis=axis_of(x.ndim), keepdims=whole(0, 1), select_last_index=whole(0, 1)), 1
    return make


def gather():
    x = values(shape_of(whole(1, 3)))
    axis = axis_of(x.ndim)
    n = x.shape[axis]
    return [x, ints(-n, n - 1, *shape_of(whole(0, 2)), t=pick(I64, I32))], dict(axis=axis), 1


def gather_elements():
    x = values(shape_of(whole(1, 4)))
    axis = axis_of(x.ndim)
    s = [whole(1, n) for n in x.shape]
    s[axis] = whole(1, 7)
    n = x.shape[axis]
    return [x, ints(-n, n - 1, *s, t=pick(I64, I32))], dict(axis=axis), 1


def scatter_elements():
    (x, at), a, _ = gather_elements()
    axis = a["axis"]
    red = pick("none", "add", "mul", "max", "min")
    if red == "none":  # the order of writes to one place is not defined
        at = at.copy()
        m = np.moveaxis(at, axis, -1)
        keep = min(m.shape[-1], x.shape[axis])
        order = np.argsort(rng.random(m.shape[:-1] + (x.shape[axis],)), -1)[..., :keep]
        at = np.moveaxis(order, -1, axis).astype(at.dtype)
    if x.dtype not in (F, I64, I32) and red != "none":
        x = x.astype(F)
    if red != "none":
        a["reduction"] = red
    u = values(at.shape, x.dtype.type)
    return [x, np.ascontiguousarray(at), u], a, 1


def gather_nd():
    x = values(shape_of(whole(1, 4)))
    b = whole(0, min(1, x.ndim - 1))
    k = whole(1, x.ndim - b)
    lead = list(x.shape[:b]) + shape_of(whole(0 if b else 1, 2))
    at = np.stack([ints(-n, n - 1, *lead) for n in x.shape[b:b + k]], -1)
    return [x, at], dict(batch_dims=b), 1


def scatter_nd():
    x = values(shape_of(whole(1, 3)), pick(F, I64, I32))
    k = whole(1, x.ndim)
    lead = shape_of(whole(1, 2), 3)
    at = np.stack([ints(-n, n - 1, *lead) for n in x.shape[:k]], -1)
    return [x, at, values(lead + list(x.shape[k:]), x.dtype.type)], dict(reduction=pick("add", "mul", "max", "min")), 1


def top_k():
    x = values(shape_of(whole(1, 3), 9), pick(F, F, I64, I32))
    axis = axis_of(x.ndim)
    return [x, np.array([whole(1, x.shape[axis])], I64)], dict(axis=axis, largest=whole(0, 1), sorted=1), 2


def unique():
    x = values(shape_of(whole(1, 3), 5), pick(F, I64, S8))
    x = (x % 4).astype(x.dtype)
    x = np.round(x) if x.dtype == F else x
    a = dict(sorted=whole(0, 1))
    if maybe():
        a["axis"] = axis_of(x.ndim)
    return [x], a, 4


def one_hot():
    d = whole(1, 6)
    x = ints(-d - 1, d, *shape_of(whole(1, 3)), t=pick(I64, I32))
    return [x, np.array(d, I64), values([2], pick(F, I64, I32))], dict(axis=whole(-x.ndim - 1, x.ndim)), 1


def compress():
    x = values(shape_of(whole(1, 3)), pick(F, I64))
    if maybe():
        axis = axis_of(x.ndim)
        return [x, ints(0, 1, whole(1, x.shape[axis])).astype(bool)], dict(axis=axis), 1
    return [x, ints(0, 1, whole(1, x.size)).astype(bool)], {}, 1


def pad():
    x = values(shape_of(whole(1, 4), 5), pick(F, F, I64, I32))
    mode = pick("constant", "edge", "reflect", "wrap")
    most = 3 if mode in ("constant", "edge") else 0
    p = [whole(0, most if most else max(0, n - 1)) for n in x.shape] + [whole(0, most if most else max(0, n - 1)) for n in x.shape]
    ins = [x, np.array(p, I64)]
    if mode == "constant" and maybe():
        ins.append(values([], x.dtype.type))
    return ins, dict(mode=mode), 1


def slices():
    x = values(shape_of(whole(1, 4), 7))
    axes = list(range(x.ndim))
    rng.shuffle(axes)
    axes = axes[:whole(1, x.ndim)]
    s = [whole(-n - 1, n) for n in (x.shape[a] for a in axes)]
    e = [whole(-n - 1, n + 1) for n in (x.shape[a] for a in axes)]
    by = [pick(1, 1, 2, 3, -1, -2) for _ in axes]
    out = x[tuple(slice(*[(s[axes.index(d)]), e[axes.index(d)], by[axes.index(d)]]) if d in axes else slice(None)
                  for d in range(x.ndim))]
    if out.size == 0:
        return slices()
    return [x, np.array(s, I64), np.array(e, I64), np.array(axes, I64), np.array(by, I64)], {}, 1


def resize():
    nd = pick(1, 2, 2, 3)
    x = reals(1, whole(1, 2), *[whole(2, 6) for _ in range(nd)])
    mode = pick("nearest", "linear") if nd != 2 else pick("nearest", "linear", "cubic")
    a = dict(mode=mode, coordinate_transformation_mode=pick("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    if mode == "nearest":
        a["nearest_mode"] = pick("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
    if mode == "cubic" and maybe():
        a["exclude_outside"] = 1
    if a["coordinate_transformation_mode"] == "align_corners" or maybe():
        sizes = list(x.shape[:2]) + [whole(1, 11) for _ in range(nd)]
        return [x, None, None, np.array(sizes, I64)], a, 1
    return [x, None, np.array([1, 1] + [pick(0.5, 1, 1.5, 2, 3) for _ in range(nd)], F)], a, 1


def grid_sample():
    n, c = whole(1, 2), whole(1, 3)
    x = reals(n, c, whole(2, 6), whole(2, 6))
    g = (reals(n, whole(1, 4), whole(1, 4), 2) * 0.8).astype(F)
    return [x, g], dict(mode=pick("bilinear", "nearest", "bicubic"), padding_mode=pick("zeros", "border", "reflection"),
                        align_corners=whole(0, 1)), 1


def einsum():
    letters = "ijkl"
    size = {ch: whole(1, 5) for ch in letters}
    terms = ["".join(rng.permutation(list(letters))[:whole(1, 3)]) for _ in range(2)]
    used = "".join(sorted(set("".join(terms))))
    out = "".join(rng.permutation(list(used))[:whole(0, len(used))])
    return [reals(*[size[ch] for ch in t]) for t in terms], dict(equation=",".join(terms) + "->" + out), 1


def col2im():
    block, image = shape_of(2, 3), [whole(4, 8), whole(4, 8)]
    a = dict(strides=[whole(1, 2), whole(1, 2)], pads=[whole(0, 1) for _ in range(4)])
    places = 1
    for d in range(2):
        places *= (image[d] + a["pads"][d] + a["pads"][d + 2] - block[d]) // a["strides"][d] + 1
    return [reals(1, whole(1, 2) * block[0] * block[1], places), np.array(image, I64), np.array(block, I64)], a, 1


def softmax():
    x = reals(*shape_of(whole(1, 4)))
    return [x], dict(axis=axis_of(x.ndim)), 1


def layer_norm():
    x = reals(*shape_of(whole(1, 3)), whole(8, 20))  # few elements: the variance is next to nothing
    axis = whole(1, x.ndim - 1)
    return [x, reals(*x.shape[axis:]), reals(*x.shape[axis:])], dict(axis=axis), 1


def binary(t=None):
    def make():
        s = shape_of(whole(1, 4), 5)
        kind = t or pick(F, F, I64, I32)
        b = [1 if maybe(0.3) else n for n in s][whole(0, len(s) - 1):]
        u, v = values(s, kind), values(b, kind)
        return ([u, v] if maybe() else [v, u]), {}, 1
    return make


def divide():
    (u, v), a, n = binary()()
    return [u, np.where(v == 0, v.dtype.type(1), v)], a, n


def unary(scale=1.0):
    return lambda: ([(reals(*shape_of(whole(1, 3), 9)) * scale).astype(F)], {}, 1)


def cum_sum():
    x = values(shape_of(whole(1, 3)), pick(F, I64, I32))
    return [x, np.array(axis_of(x.ndim), I64)], dict(exclusive=whole(0, 1), reverse=whole(0, 1)), 1


def matmul_integer():
    b = shape_of(whole(0, 2), 3)
    m, k, n = shape_of(3, 7)
    ins = [ints(0, 255, *b, m, k, t=U8), ints(-128, 127, *b, k, n, t=S8)]
    if maybe():
        ins += [np.array(whole(0, 255), U8), np.array(whole(-128, 127), S8)]
    return ins, {}, 1


def dynamic_quantize():
    return [reals(*shape_of(whole(1, 3), 9)) + F(whole(-1, 1))], {}, 3


def tile():
    x = values(shape_of(whole(1, 3), 4))
    return [x, ints(1, 3, x.ndim)], {}, 1


def transpose():
    x = values(shape_of(whole(1, 5), 4))
    return [x], dict(perm=rng.permutation(x.ndim).tolist()), 1


def trilu():
    x = values(shape_of(whole(2, 3)), pick(F, I64))
    return [x, np.array(whole(-4, 4), I64)], dict(upper=whole(0, 1)), 1


def roi_align():
    x = reals(2, whole(1, 2), whole(4, 8), whole(4, 8))
    r = np.sort(rng.random((3, 2, 2)) * 8, 1).astype(F).reshape(3, 4)
    a = dict(output_height=whole(1, 3), output_width=whole(1, 3), sampling_ratio=whole(0, 2), spatial_scale=0.7,
             coordinate_transformation_mode=pick("half_pixel", "output_half_pixel"))
    return [x, r, ints(0, 1, 3)], a, 1


def non_max():
    b = np.sort(rng.random((2, 9, 2, 2)), 2).astype(F).reshape(2, 9, 4)
    return [b, rng.random((2, 2, 9)).astype(F), np.array([whole(1, 9)], I64), np.array([0.3], F), np.array([0.2], F)], {}, 1


def matmul():
    b = shape_of(whole(0, 2), 3)
    m, k, n = shape_of(3, 20)
    u, v = [1 if maybe(0.3) else d for d in b], b[whole(0, len(b)):]
    return pick(([reals(*u, m, k), reals(*v, k, n)], {}, 1), ([reals(k), reals(*v, k, n)], {}, 1), ([reals(*u, m, k), reals(k)], {}, 1))


def gemm():
    m, k, n = shape_of(3, 20)
    ta, tb = whole(0, 1), whole(0, 1)
    c = pick([], [n], [m, 1], [1, n], [m, n])
    ins = [reals(*((k, m) if ta else (m, k))), reals(*((n, k) if tb else (k, n)))] + ([reals(*c)] if maybe(0.8) else [])
    return ins, dict(transA=ta, transB=tb, alpha=pick(1.0, 0.7), beta=pick(1.0, 0.3)), 1


def where():
    (u, v), _, _ = binary()()
    return [ints(0, 1, *np.broadcast_shapes(u.shape, v.shape)[whole(0, 1):]).astype(bool), u, v], {}, 1


def concat():
    s, t = shape_of(whole(1, 4), 4), pick(F, I64, U8)
    axis = axis_of(len(s))
    parts = []
    for _ in range(whole(1, 4)):
        p = list(s)
        p[axis] = whole(1, 4)
        parts.append(values(p, t))
    return parts, dict(axis=axis), 1


def split():
    x = values(shape_of(whole(1, 3), 3))
    axis = axis_of(x.ndim)
    n = whole(1, 3)
    parts = ints(1, 3, n)
    s = list(x.shape)
    s[axis] = int(parts.sum())
    return [values(s, x.dtype.type), parts], dict(axis=axis), n


def expand():
    s = shape_of(whole(1, 4), 4)
    x = values([1 if maybe() else n for n in s][whole(0, len(s) - 1):])
    return [x, np.array(s, I64)], {}, 1


def space(op):
    def make():
        b, c, y, x = whole(1, 3), whole(1, 3), whole(1, 3), whole(1, 3)
        if op == "SpaceToDepth":
            return [reals(2, c, y * b, x * b)], dict(blocksize=b), 1
        return [reals(2, c * b * b, y, x)], dict(blocksize=b, mode=pick("DCR", "CRD")), 1
    return make


def channels(n):
    def make():
        x = reals(whole(1, 2), whole(1, 4), *shape_of(whole(1, 2), 5), whole(6, 12))
        return [x] + [reals(x.shape[1]) for _ in range(n)], {}, 1
    return make


def lrn():
    x = reals(2, whole(1, 7), 3, 2)
    return [x], dict(size=pick(1, 3, 5), alpha=0.1, beta=0.6, bias=1.3), 1


def mod():
    t = pick(I64, I32, U8, S8, F)
    (u, v), _, n = binary(t)()
    return [u, np.where(v == 0, v.dtype.type(3), v)], dict(fmod=1 if t == F else whole(0, 1)), n


def power():
    (u, v), _, n = binary(F)()
    return [np.abs(u) + F(0.1), v], {}, n


def clip():
    x = values(shape_of(whole(1, 3)), pick(F, I64, I32, U8, S8))
    lo, hi = sorted([whole(0, 50), whole(0, 50)]) if x.dtype != F else (-0.5, 0.7)
    return [x, np.array(lo, x.dtype), np.array(hi, x.dtype)], {}, 1


def quantize():
    x = reals(*shape_of(whole(1, 4)))
    axis = axis_of(x.ndim)
    t, n = pick(U8, S8), x.shape[axis]
    if maybe():
        return [x, np.array(0.031, F), ints(0, 100, t=t)], {}, 1
    return [x, rng.random(n).astype(F) + F(0.01), ints(0, 100, n, t=t)], dict(axis=axis), 1


def dequantize():
    (_, s, z), a, n = quantize()
    shape = shape_of(3)
    if s.ndim:
        shape[0], a = len(s), dict(axis=0)
    i = np.iinfo(z.dtype)
    return [ints(i.min, i.max, *shape, t=z.dtype.type), s, z], a, n


def conv_integer():
    size = [whole(3, 7), whole(3, 7)]
    a = window(2, size)
    c = whole(1, 3)
    ins = [ints(0, 255, 1, c, *size, t=U8), ints(0, 255, whole(1, 3), c, *a["kernel_shape"], t=U8)]
    return ins + ([np.array(whole(0, 255), U8)] if maybe() else []), a, 1


def reverse_sequence():
    x = values(shape_of(whole(2, 4), 5))
    b = whole(0, 1)
    return [x, ints(1, x.shape[1 - b], x.shape[b])], dict(batch_axis=b, time_axis=1 - b), 1


def shift():
    (u, v), _, n = binary(U8)()
    return [u, (v % 9).astype(U8)], dict(direction=pick("LEFT", "RIGHT")), n


def det():
    n = whole(1, 5)
    return [reals(*shape_of(whole(0, 2)), n, n)], {}, 1


def dft():
    return [reals(whole(1, 3), whole(2, 20), 1)], dict(onesided=whole(0, 1)), 1


OPS = {
    "MatMul": (matmul, 17), "Gemm": (gemm, 17), "Where": (where, 17), "Concat": (concat, 17), "Split": (split, 17),
    "Expand": (expand, 17), "DepthToSpace": (space("DepthToSpace"), 17), "SpaceToDepth": (space("SpaceToDepth"), 17),
    "InstanceNormalization": (channels(2), 17), "LpNormalization": (softmax, 17), "LRN": (lrn, 17), "Mod": (mod, 17),
    "Pow": (power, 17), "Clip": (clip, 17), "QuantizeLinear": (quantize, 17), "DequantizeLinear": (dequantize, 17),
    "ConvInteger": (conv_integer, 17), "ReverseSequence": (reverse_sequence, 17), "BitShift": (shift, 17), "Det": (det, 17),
    "DFT": (dft, 17), "GlobalAveragePool": (channels(0), 17), "GlobalMaxPool": (channels(0), 17),
    "Conv": (conv, 17), "ConvTranspose": (conv_transpose, 17), "MaxPool": (pool("MaxPool"), 17),
    "AveragePool": (pool("AveragePool"), 17), "LpPool": (pool("LpPool"), 17),
    "Gather": (gather, 17), "GatherElements": (gather_elements, 17), "ScatterElements": (scatter_elements, 18),
    "GatherND": (gather_nd, 17), "ScatterND": (scatter_nd, 18), "TopK": (top_k, 17), "Unique": (unique, 17),
    "OneHot": (one_hot, 17), "Compress": (compress, 17), "Pad": (pad, 19), "Slice": (slices, 17), "Resize": (resize, 19),
    "GridSample": (grid_sample, 16), "Einsum": (einsum, 17), "Col2Im": (col2im, 18), "Softmax": (softmax, 17),
    "LogSoftmax": (softmax, 17), "Hardmax": (softmax, 17), "LayerNormalization": (layer_norm, 17),
    "Add": (binary(), 17), "Sub": (binary(), 17), "Mul": (binary(), 17), "Div": (divide, 17), "Max": (binary(), 17),
    "Min": (binary(), 17), "Less": (binary(), 17), "GreaterOrEqual": (binary(), 17), "Equal": (binary(), 17),
    "Tan": (unary(0.4), 17), "Atan": (unary(), 17), "Sinh": (unary(), 17), "Asinh": (unary(), 17), "Erf": (unary(), 17),
    "Celu": (unary(), 17), "Mish": (unary(), 18), "HardSwish": (unary(3), 17), "Round": (unary(4), 17), "Selu": (unary(), 17),
    "CumSum": (cum_sum, 17), "MatMulInteger": (matmul_integer, 17), "DynamicQuantizeLinear": (dynamic_quantize, 17),
    "Tile": (tile, 17), "Transpose": (transpose, 17), "Trilu": (trilu, 17), "RoiAlign": (roi_align, 16),
    "NonMaxSuppression": (non_max, 17), "ArgMax": (arg("ArgMax"), 17), "ArgMin": (arg("ArgMin"), 17),
}
OPS.update({op: (reduce(op), 17) for op in INT_REDUCE + ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp")})


def build(op, opset, ins, attrs, nout):
    """Inputs are graph inputs or constants, as chance will."""
    names, feeds, consts = [], {}, []
    for i, v in enumerate(ins):
        if v is None:
            names.append("")
            continue
        names.append(f"i{i}")
        if i == 0 or maybe():
            feeds[f"i{i}"] = v
        else:
            consts.append(h.make_tensor(f"i{i}", h.np_dtype_to_tensor_dtype(v.dtype), v.shape, v.tobytes(), raw=True))
    outs = [f"o{i}" for i in range(nout)]
    node = h.make_node(op, names, outs, name="n", **attrs)
    graph = h.make_graph([node], "g",
                         [h.make_tensor_value_info(k, h.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feeds.items()],
                         [h.make_empty_tensor_value_info(o) for o in outs], consts)
    return h.make_model(graph, ir_version=8, opset_imports=[h.make_opsetid("", opset)]), feeds, outs


LOOSE = {"DFT": 50}  # long sums in float32 there, in double here


def differs(op, a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype} {a.shape}, not {b.dtype} {b.shape}"
    if a.dtype == F:
        most = max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0)))
        if not np.allclose(a, b, rtol=2e-5, atol=2e-6 * most * LOOSE.get(op, 1), equal_nan=True):
            return f"largest difference {np.nanmax(np.abs(a - b)):.3g}"
        return ""
    return "" if np.array_equal(a, b) else f"{int((a != b).sum())} of {a.size} differ"


def run_one(tmp, number):
    op = pick(*(args.only or OPS))
    make, opset = OPS[op]
    ins, attrs, nout = make()
    model, feeds, outs = build(op, opset, ins, attrs, nout)
    label = f"{args.s}/{number} {op} {[None if v is None else (v.dtype.name, v.shape) for v in ins]} {attrs}"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        want = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(outs, feeds)
    except Exception as e:
        if args.v:
            print("left out", label, str(e)[:200])
        return "left out"
    save(model, f"{tmp}/m.onnx")
    for k, v in feeds.items():
        np.save(f"{tmp}/{k}.npy", v)
    files = [f"{tmp}/{k}.npy" for k in feeds] + [f"{tmp}/{o}.npy" for o in outs]
    p = subprocess.run([f"{BUILD}/tests/run_model", f"{tmp}/m.onnx"] + files, capture_output=True, text=True)
    if p.returncode == 5:
        print("not supported", label, p.stderr.strip())
        return "not supported"
    why = p.stderr.strip() or f"exit {p.returncode}" if p.returncode else ""
    for o, b in zip(outs, want):
        why = why or differs(op, np.load(f"{tmp}/{o}.npy"), b)
    if why:
        print("DIFFERS", label, why)
    return "differs" if why else "equal"


count = {}
with tempfile.TemporaryDirectory() as tmp:
    for i in range(args.n):
        rng = np.random.default_rng([args.s, i])
        r = run_one(tmp, i)
        count[r] = count.get(r, 0) + 1
print(", ".join(f"{k} {v}" for k, v in sorted(count.items())))
sys.exit(1 if count.get("differs") else 0)
