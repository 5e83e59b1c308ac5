# SPDX-License-Identifier: Apache-2.0
"""Random ONNX graphs. Every node is evaluated in double while the graph grows (onnx's reference), so that
shapes are known, numbers stay small, and steps like Floor or ArgMax are not near a tie, where float and
double may rightly differ. A seed and a number of nodes give the same graph on every machine."""
import warnings

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

warnings.filterwarnings("ignore")
LARGEST = 4096  # elements of a tensor
MARGIN = 1e-3   # distance from ties
OPSETS = (7, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21)


class Reject(Exception):
    """This node cannot stand here; another is tried."""


def onnx_type(a):
    return T.FLOAT if a.dtype.kind == "f" else helper.np_dtype_to_tensor_dtype(a.dtype)


class Graph:
    """values: name -> array, floats in double. outer: the graph that a subgraph stands in."""

    def __init__(self, rng, opset, outer=None, prefix=""):
        self.rng, self.opset, self.outer, self.prefix = rng, opset, outer, prefix
        self.values, self.nodes, self.consts, self.inputs = {}, [], [], []
        self.used, self.count = set(), 0

    # ---- drawing ----
    def int(self, low, high):
        """low..high, both included"""
        return int(self.rng.integers(low, high + 1))

    def chance(self, p):
        return self.rng.random() < p

    def choose(self, list):
        return list[self.int(0, len(list) - 1)]

    def floats(self, *shape, low=-1.0, high=1.0):
        return (low + (high - low) * self.rng.random(shape)).astype(np.float32).astype(np.float64)

    def pick(self, kind="f", rank=None, least=0, most=6, where=None):
        """The name of a value of this kind and rank, later ones more often."""
        names = [n for n, v in self.values.items()
                 if v.dtype.kind == kind and least <= v.ndim <= most and (rank is None or v.ndim == rank)
                 and v.size > 0 and (where is None or where(v))]
        if not names:
            raise Reject
        return names[max(self.int(0, len(names) - 1), self.int(0, len(names) - 1))]

    # ---- building ----
    def name(self):
        top = self
        while top.outer:
            top = top.outer
        top.count += 1
        return f"{self.prefix}v{top.count}"

    def const(self, a):
        name = self.name()
        self.consts.append((name, np.asarray(a)))
        return name

    def ints(self, *v):
        return self.const(np.array(v, np.int64))

    def value(self, name):
        for n, a in self.consts:
            if n == name:
                return a
        return self.values[name] if name in self.values else self.outer.value(name)

    def node(self, op, inputs, outputs=1, math=None, **attrs):
        """Adds a node whose results in double are fit to go on with; gives the name of its first output.
        math gives the results instead of the reference."""
        names = [self.name() for _ in range(outputs)]
        n = helper.make_node(op, inputs, names, **attrs)
        try:
            results = math() if math else self.evaluate(n, [i for i in inputs if i])
        except ValueError as e:
            raise Reject from e
        for r in results:
            if not isinstance(r, np.ndarray) and not np.isscalar(r):
                raise Reject
            r = np.asarray(r)
            if r.size > LARGEST or r.ndim > 6 or (r.dtype.kind == "f" and not np.all(np.abs(r) < 1e3)):
                raise Reject
        self.nodes.append(n)
        self.used.update(inputs)
        self.values.update((k, np.asarray(r)) for k, r in zip(names, results))
        return names[0]

    def evaluate(self, n, inputs):
        feeds = {i: self.value(i) for i in inputs}
        infos = [helper.make_tensor_value_info(i, onnx_type(a), a.shape) for i, a in feeds.items()]
        outs = [helper.make_empty_tensor_value_info(o) for o in n.output]
        g = helper.make_graph([in_double(n)], "n", infos, outs)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", max(self.opset, 8))])
        try:
            return ReferenceEvaluator(m).run(None, feeds)
        except Exception as e:
            raise Reject from e

    def apart(self, a, b):
        """No element of a - b near 0."""
        if a.size and np.min(np.abs(a - b)) < MARGIN:
            raise Reject

    # ---- the whole ----
    def leaves(self):
        names = [n for n in self.values if n not in self.used and n not in self.inputs]
        names += [n for n in self.values if n in self.used and n not in self.inputs and self.chance(0.1)]
        return names

    def graph_proto(self, name, outputs, typed=True):
        def info(n):
            a = self.value(n)
            return helper.make_tensor_value_info(n, onnx_type(a), a.shape if typed else None)
        consts = []
        for n, a in self.consts:
            consts.append(numpy_helper.from_array(a.astype(np.float32) if a.dtype.kind == "f" else a, n))
        outs = [helper.make_tensor_value_info(o, onnx_type(self.value(o)), None) for o in outputs]
        return helper.make_graph(self.nodes, name, [info(i) for i in self.inputs], outs, consts)


def in_double(n):
    """The node with float attributes' tensors and casts in double."""
    d = type(n)()
    d.CopyFrom(n)
    for a in d.attribute:
        if a.name in ("to", "dtype") and a.i == T.FLOAT:
            a.i = T.DOUBLE
        elif a.HasField("t") and a.t.data_type == T.FLOAT:
            a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(np.float64), a.t.name))
        elif a.HasField("g"):
            for k in a.g.node:
                k.CopyFrom(in_double(k))
            for t in a.g.initializer:
                if t.data_type == T.FLOAT:
                    t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
            for v in list(a.g.input) + list(a.g.output):
                if v.type.tensor_type.elem_type == T.FLOAT:
                    v.type.tensor_type.elem_type = T.DOUBLE
    return d


def make(seed):
    """(model, inputs as float32, results in double by name)"""
    import random_flow  # noqa: F401: adds to NODES
    from random_forms import NODES
    rng = np.random.default_rng(seed)
    g = Graph(rng, OPSETS[int(rng.integers(len(OPSETS)))])
    for shape in ([2, 3, 8, 7], [4, 6], [3, 5, 4])[:g.int(1, 3)]:
        shape = [max(1, d + g.int(-1, 1)) for d in shape]
        name = g.name()
        g.values[name] = g.floats(*shape, low=-2, high=2)
        g.inputs.append(name)
    fns = [f for f, first, last in NODES if first <= g.opset <= last]
    want, tries = g.int(4, 16), 0
    while len(g.nodes) < want and tries < 200:
        tries += 1
        before = len(g.nodes), len(g.consts), dict(g.values), set(g.used)
        try:
            fns[g.int(0, len(fns) - 1)](g)
        except Reject:
            del g.nodes[before[0]:], g.consts[before[1]:]
            g.values, g.used = before[2], before[3]
    outputs = g.leaves()
    if not outputs:
        return make(seed + 1_000_003)
    kept = {n for n, _ in g.consts if any(n in k.input for k in g.nodes)} | subgraph_reads(g.nodes)
    g.consts = [c for c in g.consts if c[0] in kept]
    m = helper.make_model(g.graph_proto(f"seed{seed}", outputs), ir_version=8,
                          opset_imports=[helper.make_opsetid("", g.opset)])
    feeds = {i: g.values[i].astype(np.float32) for i in g.inputs}
    return m, feeds, {o: g.values[o] for o in outputs}


def subgraph_reads(nodes):
    names = set()
    for n in nodes:
        for a in n.attribute:
            if a.HasField("g"):
                names |= {i for k in a.g.node for i in k.input} | subgraph_reads(a.g.node) | {o.name for o in a.g.output}
    return names
