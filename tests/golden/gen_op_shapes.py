#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Output shapes of single nodes as ONNX Runtime computes them, for random attributes.

usage: gen_op_shapes.py > op_shapes.txt
One case a line: opset | dims of x | op(inputs) attributes | constants | dims of every output, in
the language of tests/graph_text.h. Made with onnx 1.17 and onnxruntime 1.20.1.
"""
import random

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h

random.seed(20)
R = random.randint


def attrs_text(attrs):
    out = []
    for k, v in attrs.items():
        if isinstance(v, str):
            out.append('%s="%s"' % (k, v))
        elif isinstance(v, list):
            out.append("%s=[%s]" % (k, ",".join(map(str, v))))
        else:
            out.append("%s=%s" % (k, v))
    return " ".join(out)


def case(opset, op, dims, consts=(), nout=1, **attrs):
    """consts: (name, array or None for an omitted input)."""
    names = ["x"] + [n if a is not None else "" for n, a in consts]
    outs = ["y%d" % i for i in range(nout)]
    inits = [onnx.numpy_helper.from_array(a, n) for n, a in consts if a is not None]
    node = h.make_node(op, names, outs, **attrs)
    graph = h.make_graph([node], "g", [h.make_tensor_value_info("x", T.FLOAT, dims)],
                         [onnx.ValueInfoProto(name=o) for o in outs], inits)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options)
        result = session.run(None, {"x": np.zeros(dims, np.float32)})
    except Exception:
        return 0  # what ONNX Runtime refuses is not compared
    if "Pool" in op and any(0 in r.shape for r in result):
        return 0  # a window that does not fit: an error here
    text = []
    for n, a in consts:
        if a is None:
            continue
        kind = "f32" if a.dtype == np.float32 else "s64"
        # Values matter only where they make shapes.
        values = " ".join(str(v) for v in a.ravel()) if a.size <= 16 else ""
        text.append("const %s %s [%s] %s" % (n, kind, ",".join(map(str, a.shape)), values))
    print("%d|%s|%s = %s(%s) %s|%s|%s" % (
        opset, ",".join(map(str, dims)), ", ".join(outs), op,
        ", ".join(names) + (", " if names[-1] == "" else ""), attrs_text(attrs), ";".join(text),
        ";".join(",".join(map(str, r.shape)) for r in result)))
    return 1


def f32(*dims):
    return np.zeros(dims, np.float32)


def i64(*v):
    return np.array(v, np.int64)


def window(nd, pooling, kernel):
    a = {}
    if R(0, 3):
        a["strides"] = [R(1, 3) for _ in range(nd)]
    if R(0, 2) == 0:
        a["dilations"] = [R(1, 3) for _ in range(nd)]
    mode = random.choice(["pads", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"])
    if mode == "pads":
        top = (lambda d: min(2, kernel[d % nd] - 1)) if pooling else (lambda d: 2)
        a["pads"] = [R(0, top(d)) for d in range(2 * nd)]
    elif mode != "none":
        a["auto_pad"] = mode
    return a


def convs(count):
    while count > 0:
        nd = R(1, 3)
        k, g = [R(1, 4) for _ in range(nd)], R(1, 3)
        dims = [R(1, 2), 2 * g] + [R(3, 15) for _ in range(nd)]
        a = window(nd, False, k)
        if g > 1:
            a["group"] = g
        if R(0, 1):
            a["kernel_shape"] = k
        count -= case(R(11, 20), "Conv", dims, [("w", f32(3 * g, 2, *k))], **a)


def pools(count):
    while count > 0:
        nd = R(1, 3)
        k = [R(1, 4) for _ in range(nd)]
        dims = [R(1, 2), 2] + [R(3, 15) for _ in range(nd)]
        a = window(nd, True, k)
        op = random.choice(["MaxPool", "MaxPool", "AveragePool"])
        if op == "AveragePool":
            a.pop("dilations", None)
        if R(0, 1):
            a["ceil_mode"] = 1
        count -= case(R(12, 20), op, dims, kernel_shape=k, **a)


def transposed(count):
    while count > 0:
        nd = R(1, 2)
        k, g = [R(1, 4) for _ in range(nd)], R(1, 2)
        dims = [R(1, 2), 2 * g] + [R(2, 7) for _ in range(nd)]
        a = window(nd, False, k)
        if g > 1:
            a["group"] = g
        if "strides" in a and R(0, 1):
            a["output_padding"] = [R(0, s - 1) for s in a["strides"]]
        count -= case(R(11, 20), "ConvTranspose", dims, [("w", f32(2 * g, 3, *k))], **a)


def slices(count):
    while count > 0:
        dims = [R(1, 6) for _ in range(R(1, 4))]
        axes = random.sample(range(len(dims)), R(1, len(dims)))
        end = lambda: random.choice([R(-8, 8), 2**63 - 1, -2**63, 0])
        starts, ends = [end() for _ in axes], [end() for _ in axes]
        steps = [random.choice([1, 1, 2, 3, -1, -2]) for _ in axes]
        axes = [x - len(dims) if R(0, 1) else x for x in axes]
        count -= case(R(11, 20), "Slice", dims, [("s", i64(*starts)), ("e", i64(*ends)),
                                                  ("a", i64(*axes)), ("t", i64(*steps))])


def resizes(count):
    while count > 0:
        dims = [1, 2, R(2, 9), R(2, 9)]
        mode = random.choice(["nearest", "linear"])
        if R(0, 1):
            scales = np.array([1, 1, random.choice([.5, .3, 1.7, 2, 3, 2.6]),
                               random.choice([.4, 1, 1.1, 2.3])], np.float32)
            count -= case(R(13, 20), "Resize", dims, [("r", None), ("s", scales)], mode=mode)
        else:
            policy = random.choice(["stretch", "not_larger", "not_smaller"])
            count -= case(18, "Resize", dims, [("r", None), ("s", None), ("z", i64(R(2, 12), R(2, 12)))],
                          mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy)


def rest(count):
    for _ in range(count):
        dims = [R(1, 5) for _ in range(R(2, 5))]
        n = len(dims)
        some = sorted(random.sample(range(n), R(1, n)))
        signed = [x - n if R(0, 1) else x for x in some]
        keep = R(0, 1)
        case(R(18, 20), random.choice(["ReduceMean", "ReduceMax", "ReduceSum", "ReduceProd", "ReduceL2"]),
             dims, [("a", i64(*signed))], keepdims=keep)
        case(R(11, 12), random.choice(["ReduceMean", "ReduceSum"]), dims, axes=signed, keepdims=keep)
        case(R(11, 20), "ArgMax", dims, axis=signed[0], keepdims=keep)
        case(R(11, 20), "Flatten", dims, axis=R(-n, n))
        case(R(11, 20), "Transpose", dims, perm=random.sample(range(n), n))
        case(R(13, 20), "Unsqueeze", dims, [("a", i64(*signed))])
        case(R(11, 20), "Tile", dims, [("a", i64(*[R(0, 3) for _ in dims]))])
        case(R(11, 20), "Pad", dims, [("a", i64(*[R(-1, 2) for _ in range(2 * n)]))])
        case(R(11, 20), "Gather", dims, [("a", np.zeros([1] * R(0, 2), np.int64))], axis=signed[0])
        case(R(11, 20), "Expand", dims, [("a", i64(*[random.choice([1, 1, 3]) for _ in range(R(1, 6))]))])
        parts = R(1, 4)
        case(18, "Split", dims, nout=parts, axis=signed[0], num_outputs=parts)
        total = dims[some[0]]
        cut = R(0, total)
        case(13, "Split", dims, [("a", i64(cut, total - cut))], nout=2, axis=some[0])
        case(R(11, 20), "Reshape", dims, [("a", i64(*random.choice([[-1], [0, -1], [-1, dims[-1]],
                                                                    [0, 0, -1], [dims[1], -1, 1]])))])
        case(R(13, 20), "Squeeze", dims)


convs(70)
pools(90)
transposed(50)
slices(70)
resizes(40)
rest(14)
