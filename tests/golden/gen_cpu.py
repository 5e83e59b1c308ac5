# SPDX-License-Identifier: Apache-2.0
"""Writes cpu_ops*.bin: ONNX Runtime's outputs of the graphs in cpu_cases*.txt.

Run with onnx 1.17 and onnxruntime 1.20: python3 gen_cpu.py [SUFFIX...], SUFFIX for example _types,
or '' for cpu_cases.txt; all without one. Per case and output: int32 type, int32 rank, int64 sizes,
the bytes."""
import glob
import os
import re
import struct
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {"f32": T.FLOAT, "s64": T.INT64, "s32": T.INT32, "u8": T.UINT8, "s8": T.INT8, "bool": T.BOOL}
MASK = (1 << 64) - 1


def draws(name):
    """ptq_rng of lib/core/util.c, seeded as gt_constant does."""
    seed = 7
    for c in name.encode():
        seed = (seed * 131 + c) & MASK
    s = (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) & MASK or 1
    first = True
    while True:
        s ^= s >> 12
        s = (s ^ (s << 25)) & MASK
        s ^= s >> 27
        if not first:  # seeding draws once
            yield ((s * 0x2545F4914F6CDD1D) & MASK) >> 40
        first = False


def uniform(name, n):
    g = draws(name)
    return np.array([next(g) / 16777216.0 for _ in range(n)])


def dims(text):
    return [int(d) for d in text.split(",") if d]


def attribute(text):
    name, value = text.split("=", 1)
    if value[0] == '"':
        return helper.make_attribute(name, value[1:-1])
    if value[0] == "[" and '"' in value:
        return helper.make_attribute(name, [v.strip('"') for v in value[1:-1].split(",")])
    if value[0] == "[" and re.search("[.e]", value):
        return helper.make_attribute(name, [float(v) for v in value[1:-1].split(",")])
    if value[0] == "[":
        return helper.make_attribute(name, dims(value[1:-1]))
    number = float(value) if re.search("[.e]", value) else int(value)
    return helper.make_attribute(name, number)


def build(lines):
    opset, inputs, consts, nodes, outputs, feeds = 17, [], [], [], [], {}
    for line in lines:
        m = re.match(r"(input|const) (\S+) (\S+) \[(.*?)\](.*)", line)
        if line.startswith("opset"):
            opset = int(line.split()[1])
        elif line.startswith("output "):
            outputs.append(line.split()[1])
        elif m:
            kind, name, dtype, shape, values = m.groups()
            shape = dims(shape)
            n = int(np.prod(shape, dtype=np.int64))
            np_type = helper.tensor_dtype_to_np_dtype(TYPES[dtype])
            if kind == "input":
                u = uniform(name, n)
                v = 4 * u - 2 if dtype == "f32" else np.floor(256 * u) - (128 if dtype == "s8" else 0)
                feeds[name] = v.astype(np_type).reshape(shape)
                inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
            else:
                given = [float(x) for x in values.split()]
                v = np.array(given + [given[-1]] * (n - len(given))) if given else 2 * uniform(name, n) - 1
                v = v[:n].astype(np_type).reshape(shape)
                consts.append(numpy_helper.from_array(v, name))
        else:
            m = re.match(r"(.*?) = ([\w.]+)\((.*?)\)(.*)", line)
            outs, op, ins, attrs = m.groups()
            domain, _, op = op.rpartition(".")
            node = helper.make_node(op, [i.strip() for i in ins.split(",")] if ins else [],
                                    [o.strip() for o in outs.split(",")], domain=domain)
            node.attribute.extend(attribute(a) for a in attrs.split())
            nodes.append(node)
    outs = [onnx.ValueInfoProto(name=o) for o in outputs]
    graph = helper.make_graph(nodes, "g", inputs, outs, consts)
    model = helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    return model, feeds, outputs


def write(suffix):
    cases, name = [], None
    for line in open(os.path.join(HERE, f"cpu_cases{suffix}.txt")):
        line = line.strip()
        if line.startswith("# case "):
            cases.append((line[7:], []))
        elif line and not line.startswith("#"):
            cases[-1][1].append(line)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with open(os.path.join(HERE, f"cpu_ops{suffix}.bin"), "wb") as f:
        for name, lines in cases:
            model, feeds, outputs = build(lines)
            try:
                session = ort.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
                results = session.run(outputs, feeds)
            except Exception as e:
                raise SystemExit(f"case {name}: {e}")
            for v in results:
                v = np.asarray(v)
                dtype = helper.np_dtype_to_tensor_dtype(v.dtype)
                f.write(struct.pack("<ii", dtype, v.ndim) + struct.pack(f"<{v.ndim}q", *v.shape))
                f.write(v.tobytes())
    print(len(cases), "cases")


texts = (os.path.basename(p) for p in glob.glob(os.path.join(HERE, "cpu_cases*.txt")))
for suffix in sys.argv[1:] or sorted(t[len("cpu_cases"):-len(".txt")] for t in texts):
    write(suffix)
