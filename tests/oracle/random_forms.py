# SPDX-License-Identifier: Apache-2.0
"""The nodes of random graphs: functions that add one (or the few it takes) to a graph, with the opsets in
which their form exists. random_flow.py has more."""
import numpy as np
from onnx import TensorProto as T

import random_math
from random_graphs import MARGIN, Reject

NODES = []


def node(first=7, last=99, times=1):
    def add(f):
        NODES.extend([(f, first, last)] * times)
        return f
    return add


# ---- elementwise ----
def unary(op, first=7, **attrs):
    NODES.append((lambda g: g.node(op, [g.pick()], **attrs), first, 99))


for op in ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Softplus", "Softsign", "Sin", "Cos", "Identity"):
    unary(op)
for op, first in (("Erf", 9), ("HardSwish", 14), ("Mish", 18), ("Gelu", 20), ("Atan", 7), ("Celu", 12), ("Sinh", 9)):
    unary(op, first)
unary("HardSigmoid", alpha=0.3, beta=0.4)
unary("LeakyRelu", alpha=0.125)
unary("Elu", alpha=0.75)
unary("Selu")
unary("Gelu", 20, approximate="tanh")


@node(times=2)
def positive(g):
    x = g.node("Add", [g.node("Abs", [g.pick()]), g.const(np.float64(0.25))])
    g.node(g.choose(["Log", "Sqrt", "Reciprocal", "Exp"]), [x])


@node()
def rounded(g):
    x = g.pick()
    op = g.choose(["Floor", "Ceil", "Round"] if g.opset >= 11 else ["Floor", "Ceil"])
    v = g.value(x) * 2 if op == "Round" else g.value(x)
    g.apart(v, np.round(v))
    g.node(op, [x])


@node(times=6)
def binary(g):
    a = g.pick()
    op = g.choose(["Add", "Sub", "Mul", "Div", "Min" if g.opset >= 8 else "Add", "Max" if g.opset >= 8 else "Mul"])
    if g.chance(0.5):
        shape = [d if g.chance(0.6) else 1 for d in g.value(a).shape]
        b = g.const(g.floats(*shape[g.int(0, len(shape)):], low=0.5, high=1.5) * g.choose([-1, 1]))
    else:
        b = g.pick(where=lambda v: compatible(v.shape, g.value(a).shape))
    if op == "Div" and np.min(np.abs(g.value(b))) < 0.1:
        raise Reject
    g.node(op, [a, b] if g.chance(0.5) or op == "Div" else [b, a])


def compatible(a, b):
    return all(x == y or x == 1 or y == 1 for x, y in zip(a[::-1], b[::-1]))


@node(8)
def several(g):
    a = g.pick()
    others = [g.pick(where=lambda v: compatible(v.shape, g.value(a).shape)) for _ in range(g.int(1, 2))]
    g.node(g.choose(["Sum", "Mean", "Max", "Min"]), [a] + others)


@node()
def power(g):
    x = g.node("Add", [g.node("Abs", [g.pick()]), g.const(np.float64(0.5))])
    g.node("Pow", [x, g.const(g.floats(low=-1.5, high=2.5))])


@node()
def prelu(g):
    x = g.pick(least=2)
    g.node("PRelu", [x, g.const(g.floats(g.value(x).shape[1], *[1] * (g.value(x).ndim - 2)))])


def compared(g):
    a = g.pick()
    b = g.const(g.floats(low=-0.7, high=0.7))
    g.apart(g.value(a), g.value(b))
    return a, g.node(g.choose(["Less", "Greater"]), [a, b])


@node(9, times=2)
def where(g):
    a, c = compared(g)
    if g.chance(0.3):
        c = g.node("Not", [c])
    b = g.const(g.floats()) if g.chance(0.5) else g.pick(where=lambda v: compatible(v.shape, g.value(a).shape))
    g.node("Where", [c, a, b] if g.chance(0.5) else [c, b, a])


@node()
def logic(g):
    a, b = compared(g)[1], g.pick("b")
    if not compatible(g.value(a).shape, g.value(b).shape):
        raise Reject
    c = g.node(g.choose(["And", "Or", "Xor"]), [a, b])
    g.node("Cast", [c], to=T.FLOAT)


@node(times=2)
def clip(g):
    low, high = -float(g.floats(low=0.1, high=1)), float(g.floats(low=0.1, high=1))
    low, high = float(np.float32(low)), float(np.float32(high))
    if g.opset < 11:
        g.node("Clip", [g.pick()], min=low, max=high)
    else:
        g.node("Clip", [g.pick(), g.const(np.float64(low)), g.const(np.float64(high)) if g.chance(0.7) else ""])


@node(9)
def cast(g):
    x = g.node("Mul", [g.pick(), g.const(np.float64(3.0))])
    g.apart(g.value(x), np.round(g.value(x)))
    n = g.node("Cast", [x], to=g.choose([T.INT64, T.INT32]))
    g.node("Cast", [n], to=T.FLOAT)


@node(12)
def dropout(g):
    g.node("Dropout", [g.pick()])


# ---- products ----
@node(9, times=2)
def matmul(g):
    a = g.pick(least=2)
    k = g.value(a).shape[-1]
    g.node("MatMul", [a, g.const(g.floats(k, g.int(1, 6)))])


@node(9)
def attention_like(g):
    a = g.pick(least=2, most=4)
    r = g.value(a).ndim
    perm = list(range(r - 2)) + [r - 1, r - 2]
    s = g.node("MatMul", [a, g.node("Transpose", [a], perm=perm)])
    g.node("MatMul", [softmax_of(g, s, "Softmax", r - 1), a])


@node(9)
def gemm(g):
    a = g.pick(rank=2)
    k, n = g.value(a).shape[1], g.int(1, 6)
    trans = g.int(0, 1)
    w = g.const(g.floats(*((n, k) if trans else (k, n))))
    attrs = dict(transB=trans)
    if g.chance(0.4):
        attrs.update(alpha=0.5, beta=0.25)
    c = g.choose([(n,), (1,), (1, n), (g.value(a).shape[0], 1)])
    g.node("Gemm", [a, w, g.const(g.floats(*c))], **attrs)


@node(12)
def einsum(g):
    a = g.pick(rank=3)
    _, j, k = g.value(a).shape
    equation, shape = g.choose([("bij,jk->bik", (k, 3)), ("bij,bij->bi", None), ("bij->bj", ()), ("bij,kj->bki", (2, k))])
    g.node("Einsum", [a] + ([a] if shape is None else [g.const(g.floats(*shape))] if shape else []), equation=equation)


# ---- windows ----
def windows(g, nd, shape, dilated=True):
    attrs = dict(kernel_shape=[g.int(1, min(3, s)) for s in shape], strides=[g.int(1, 2) for _ in range(nd)])
    if dilated and g.chance(0.3):
        attrs["dilations"] = [g.int(1, 2) for _ in range(nd)]
    if g.chance(0.2):
        attrs["auto_pad"] = g.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
        attrs.pop("dilations", None)
    elif g.chance(0.6):
        attrs["pads"] = [g.int(0, k - 1) for k in attrs["kernel_shape"]] + [g.int(0, k - 1) for k in attrs["kernel_shape"]]
    return attrs


@node(times=4)
def conv(g):
    x = g.pick(least=3, most=5)
    s = g.value(x).shape
    group = g.choose([d for d in range(1, s[1] + 1) if s[1] % d == 0])
    attrs = windows(g, len(s) - 2, s[2:])
    m = group * g.int(1, 3)
    ins = [x, g.const(g.floats(m, s[1] // group, *attrs["kernel_shape"]))]
    if g.chance(0.6):
        ins.append(g.const(g.floats(m)))
    values = [g.value(i) for i in ins] + [None] * (3 - len(ins))
    g.node("Conv", ins, math=lambda: [random_math.conv(*values, group=group, **attrs)], group=group, **attrs)


@node()
def conv_bn_relu(g):
    x = g.pick(rank=4)
    c, m = g.value(x).shape[1], g.int(1, 4)
    y = g.node("Conv", [x, g.const(g.floats(m, c, 1, 1))])
    y = batch_norm(g, y)
    g.node("Relu", [y])


@node(11)
def conv_transpose(g):
    x = g.pick(rank=4)
    c = g.value(x).shape[1]
    k = [g.int(1, 3), g.int(1, 3)]
    g.node("ConvTranspose", [x, g.const(g.floats(c, g.int(1, 3), *k))], strides=[g.int(1, 2), g.int(1, 2)])


@node(times=2)
def max_pool(g):
    x = g.pick(least=3, most=5)
    s = g.value(x).shape
    attrs = windows(g, len(s) - 2, s[2:], dilated=False)
    g.node("MaxPool", [x], math=lambda: [random_math.max_pool(g.value(x), **attrs)], **attrs)


@node(11, times=2)
def average_pool(g):
    x = g.pick(least=3, most=5)
    s = g.value(x).shape
    attrs = windows(g, len(s) - 2, s[2:], dilated=False)
    attrs.pop("auto_pad", None)
    attrs["count_include_pad"] = g.int(0, 1)
    g.node("AveragePool", [x], math=lambda: [random_math.average_pool(g.value(x), **attrs)], **attrs)


@node()
def global_pool(g):
    x = g.pick(least=3, most=5)
    axes = tuple(range(2, g.value(x).ndim))
    op, f = g.choose([("GlobalAveragePool", np.mean), ("GlobalMaxPool", np.max)])
    g.node(op, [x], math=lambda: [f(g.value(x), axis=axes, keepdims=True)])


# ---- normalization ----
def batch_norm(g, x):
    c = g.value(x).shape[1]
    p = [g.const(g.floats(c)) for _ in range(3)] + [g.const(g.floats(c, low=0.5, high=2))]
    s, b, mean, var = (g.value(i).reshape(-1, *[1] * (g.value(x).ndim - 2)) for i in p)
    return g.node("BatchNormalization", [x] + p, math=lambda: [(g.value(x) - mean) / np.sqrt(var + 1e-3) * s + b],
                  epsilon=1e-3)


@node(9)
def bn(g):
    batch_norm(g, g.pick(least=2, most=5))


@node()
def instance_norm(g):
    x = g.pick(rank=4)
    c = g.value(x).shape[1]
    g.node("InstanceNormalization", [x, g.const(g.floats(c)), g.const(g.floats(c))], epsilon=0.01)


@node(17, times=2)
def layer_norm(g):
    x = g.pick(least=2)
    axis = g.int(1, g.value(x).ndim - 1)
    s = g.value(x).shape[axis:]
    g.node("LayerNormalization", [x, g.const(g.floats(*s)), g.const(g.floats(*s))], axis=axis, epsilon=0.01)


@node(21)
def group_norm(g):
    x = g.pick(rank=4)
    c = g.value(x).shape[1]
    g.node("GroupNormalization", [x, g.const(g.floats(c)), g.const(g.floats(c))], epsilon=0.01,
           num_groups=g.choose([d for d in range(1, c + 1) if c % d == 0]))


def softmax_of(g, x, op, axis):
    def math():
        v = g.value(x)
        y = random_math.softmax(v, axis, coerced=g.opset < 13)
        return [np.log(y) if op == "LogSoftmax" else y]
    return g.node(op, [x], math=math, axis=axis)


@node(times=2)
def softmax(g):
    x = g.pick(least=1)
    softmax_of(g, x, g.choose(["Softmax", "LogSoftmax"]), g.int(0, g.value(x).ndim - 1))


# ---- reductions ----
@node(times=4)
def reduce(g):
    x = g.pick(least=1)
    op = g.choose(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                   "ReduceLogSumExp", "ReduceProd"])
    axes = sorted({g.int(0, g.value(x).ndim - 1) for _ in range(g.int(1, 2))})
    keep = g.int(0, 1)
    if g.opset >= 18 or (g.opset >= 13 and op == "ReduceSum"):
        g.node(op, [x, g.ints(*axes)], keepdims=keep)
    else:
        g.node(op, [x], axes=axes, keepdims=keep)


def no_ties(g, x, axis):
    v = np.sort(g.value(x), axis=axis)
    if v.shape[axis] > 1 and np.min(np.diff(v, axis=axis)) < MARGIN:
        raise Reject


@node()
def arg_reduce(g):
    x = g.pick(least=1)
    axis = g.int(0, g.value(x).ndim - 1)
    no_ties(g, x, axis)
    g.node(g.choose(["ArgMax", "ArgMin"]), [x], axis=axis, keepdims=g.int(0, 1))


@node(11)
def top_k(g):
    x = g.pick(least=1)
    axis = g.int(0, g.value(x).ndim - 1)
    no_ties(g, x, axis)
    g.node("TopK", [x, g.ints(g.int(1, g.value(x).shape[axis]))], outputs=2, axis=axis, largest=g.int(0, 1))


@node(11)
def cum_sum(g):
    x = g.pick(least=1)
    g.node("CumSum", [x, g.const(np.int64(g.int(0, g.value(x).ndim - 1)))], exclusive=g.int(0, 1), reverse=g.int(0, 1))


# ---- shapes ----
@node(times=2)
def reshape(g):
    x = g.pick(least=1)
    s = list(g.value(x).shape)
    cut = g.int(0, len(s))
    form = g.choose([[-1], [0, -1], s[:cut] + [-1], [int(np.prod(s[:cut])), -1], s[::-1]])
    if form[0] == 0 and len(s) < 2:
        raise Reject
    g.node("Reshape", [x, g.ints(*form)])


@node(9)
def computed_reshape(g):
    x = g.pick(least=3)
    first = g.node("Gather", [g.node("Shape", [x]), g.ints(0)])
    target = g.node("Concat", [first, g.ints(-1)], axis=0)
    g.node("Reshape", [x, target])


@node()
def flatten(g):
    x = g.pick(least=2)
    g.node("Flatten", [x], axis=g.int(0, g.value(x).ndim))


@node(times=2)
def transpose(g):
    x = g.pick(least=2)
    g.node("Transpose", [x], perm=[int(i) for i in g.rng.permutation(g.value(x).ndim)])


@node()
def unsqueeze(g):
    x = g.pick(most=4)
    axis = g.int(0, g.value(x).ndim)
    y = g.node("Unsqueeze", [x, g.ints(axis)]) if g.opset >= 13 else g.node("Unsqueeze", [x], axes=[axis])
    if g.chance(0.3):
        y = g.node("Relu", [y])
        g.node("Squeeze", [y, g.ints(axis)]) if g.opset >= 13 else g.node("Squeeze", [y], axes=[axis])


@node(times=2)
def slice_(g):
    x = g.pick(least=1)
    r = g.value(x).ndim
    axes = sorted({g.int(0, r - 1) for _ in range(g.int(1, 2))})
    starts, ends = [], []
    for a in axes:
        d = g.value(x).shape[a]
        first = g.int(0, d - 1)
        starts.append(first)
        ends.append(g.choose([g.int(first + 1, d), 2 ** 31 - 1]))
    if g.opset < 10:
        g.node("Slice", [x], starts=starts, ends=ends, axes=axes)
    elif g.chance(0.3):
        g.node("Slice", [x, g.ints(-1), g.ints(-100000), g.ints(axes[0]), g.ints(-g.int(1, 2))])
    else:
        g.node("Slice", [x, g.ints(*starts), g.ints(*ends), g.ints(*axes), g.ints(*[g.int(1, 2) for _ in axes])])


@node()
def split(g):
    x = g.pick(least=1, where=lambda v: max(v.shape, default=0) > 1)
    axis = g.choose([i for i, d in enumerate(g.value(x).shape) if d > 1])
    d = g.value(x).shape[axis]
    at = g.int(1, d - 1)
    if g.opset >= 13:
        g.node("Split", [x, g.ints(at, d - at)], outputs=2, axis=axis)
    else:
        g.node("Split", [x], outputs=2, axis=axis, split=[at, d - at])


@node(times=2)
def concat(g):
    a = g.pick(least=1)
    axis = g.int(0, g.value(a).ndim - 1)

    def fits(v):
        s = g.value(a).shape
        return v.ndim == len(s) and all(i == axis or x == y for i, (x, y) in enumerate(zip(v.shape, s)))
    g.node("Concat", [a] + [g.pick(where=fits) for _ in range(g.int(1, 2))], axis=axis)


@node()
def gather(g):
    x = g.pick(least=1)
    axis = g.int(0, g.value(x).ndim - 1)
    d = g.value(x).shape[axis]
    at = g.rng.integers(-d if g.opset >= 11 else 0, d, size=g.choose([(), (2,), (2, 2)]))
    g.node("Gather", [x, g.const(np.asarray(at, np.int64))], axis=axis)


@node(11)
def gather_elements(g):
    x = g.pick(least=1)
    axis = g.int(0, g.value(x).ndim - 1)
    s = list(g.value(x).shape)
    d = s[axis]
    s[axis] = g.int(1, d)
    g.node("GatherElements", [x, g.const(g.rng.integers(0, d, size=s).astype(np.int64))], axis=axis)


@node(11)
def scatter_elements(g):
    x = g.pick(least=1, where=lambda v: v.shape[-1] > 1)
    s = list(g.value(x).shape)
    d, s[-1] = s[-1], 1
    g.node("ScatterElements", [x, g.const(g.rng.integers(0, d, size=s).astype(np.int64)), g.const(g.floats(*s))], axis=-1)


@node(times=2)
def pad(g):
    x = g.pick(least=1)
    r = g.value(x).ndim
    mode = g.choose(["constant", "constant", "edge", "reflect"])
    limit = [min(2, d - 1) if mode == "reflect" else 2 for d in g.value(x).shape]
    pads = [g.int(0, n) if i >= r - 2 else 0 for i, n in enumerate(limit)] * 2
    if g.opset < 11:
        g.node("Pad", [x], pads=pads, mode=mode, **({"value": 0.5} if mode == "constant" else {}))
    else:
        g.node("Pad", [x, g.ints(*pads)] + ([g.const(np.float64(0.5))] if mode == "constant" else []), mode=mode)


@node()
def tile(g):
    x = g.pick(least=1, most=4)
    g.node("Tile", [x, g.ints(*[g.int(1, 2) for _ in g.value(x).shape])])


@node(8)
def expand(g):
    x = g.pick(most=4)
    s = [d if d > 1 else g.int(1, 3) for d in g.value(x).shape]
    g.node("Expand", [x, g.ints(*([g.int(1, 2)] if g.chance(0.5) else []), *s)])


@node(11)
def blocks(g):
    x = g.pick(rank=4)
    n, c, h, w = g.value(x).shape
    if c % 4 == 0:
        g.node("DepthToSpace", [x], blocksize=2, mode=g.choose(["DCR", "CRD"]))
    elif h % 2 == 0 and w % 2 == 0:
        g.node("SpaceToDepth", [x], blocksize=2)
    else:
        raise Reject


@node(13)
def resize(g):
    x = g.pick(rank=4)
    scales = g.const(np.array([1, 1, g.choose([1, 2]), g.choose([1, 2, 3])], np.float32))
    mode = g.choose(["nearest", "linear"])
    attrs = dict(mode=mode, coordinate_transformation_mode=g.choose(["asymmetric", "half_pixel", "align_corners"]))
    if mode == "nearest":
        attrs.update(coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    g.node("Resize", [x, "", scales], **attrs)


@node(14)
def trilu(g):
    g.node("Trilu", [g.pick(least=2)] + ([g.const(np.int64(g.int(-1, 1)))] if g.chance(0.5) else []), upper=g.int(0, 1))


@node(13)
def non_zero(g):
    _, c = compared(g)
    if not g.value(c).any():
        raise Reject
    g.node("NonZero", [c])


@node(11)
def one_hot(g):
    x = g.pick("i", where=lambda v: v.ndim < 4 and v.size < 200 and abs(v).max() < 5)
    g.node("OneHot", [x, g.const(np.int64(5)), g.const(np.array([-0.5, 1.5]))], axis=-1)
