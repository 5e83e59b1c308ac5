# SPDX-License-Identifier: Apache-2.0
"""More nodes of random graphs: rounding to codes, recurrent cells, control flow."""
import numpy as np
from onnx import helper

import random_math
from random_forms import node
from random_graphs import Graph, Reject


# ---- quantization ----
@node(13)
def fake_quantize(g):
    x = g.pick(least=1)
    scale, zp = np.float64(np.float32(0.0625)), g.int(-20, 20)
    v = g.value(x) / scale
    g.apart(2 * v, np.round(2 * v) + (np.round(2 * v) % 2 == 0) * 10)  # away from halves
    s, z = g.const(scale), g.const(np.int8(zp))
    q, y = g.name(), g.name()
    g.nodes += [helper.make_node("QuantizeLinear", [x, s, z], [q]), helper.make_node("DequantizeLinear", [q, s, z], [y])]
    g.values[y] = (np.clip(np.round(v) + zp, -128, 127) - zp) * scale
    g.used.add(x)


# ---- recurrent ----
@node(9, times=2)
def recurrent(g):
    x = g.pick(rank=3)
    seq, batch, n = g.value(x).shape
    op, gates = g.choose([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    h = g.int(1, 4)
    ins = [x, g.const(g.floats(1, gates * h, n)), g.const(g.floats(1, gates * h, h)), g.const(g.floats(1, 2 * gates * h))]
    attrs = dict(hidden_size=h)
    if op == "GRU":
        attrs["linear_before_reset"] = g.int(0, 1)
    values = [g.value(i) for i in ins]
    g.node(op, ins, outputs=2, math=lambda: random_math.recurrent(op, *values, attrs.get("linear_before_reset", 0)), **attrs)


# ---- control flow ----
def small_body(g, sub, x):
    """A few nodes on the value x of the subgraph; its name at the end."""
    for _ in range(g.int(1, 2)):
        op = g.choose(["Relu", "Tanh", "Neg", "Mul", "Add"])
        x = sub.node(op, [x] if op in ("Relu", "Tanh", "Neg") else [x, sub.const(g.floats())])
    return x


@node(11, times=2)
def branch(g):
    x = g.pick()
    c = g.node("Greater", [g.node("ReduceSum", [x], keepdims=0), g.const(np.float64(0.1))])
    g.apart(g.value(g.nodes[-1].input[0]), g.value(g.nodes[-1].input[1]))
    bodies = []
    for k in range(2):
        sub = Graph(g.rng, g.opset, g, f"b{len(g.nodes)}{k}_")
        y = small_body(g, sub, x)
        bodies.append((sub, y))
    taken = bodies[0 if bool(g.value(c)) else 1]
    out = g.name()
    g.nodes.append(helper.make_node("If", [c], [out], then_branch=bodies[0][0].graph_proto("then", [bodies[0][1]]),
                                    else_branch=bodies[1][0].graph_proto("else", [bodies[1][1]])))
    g.values[out] = taken[0].value(taken[1])
    g.used.update([c, x])


@node(11, times=2)
def loop(g):
    """A state that goes round, what each iteration saw, a value from outside."""
    x = g.pick()
    n = g.int(0, 3)
    sub = Graph(g.rng, g.opset, g, f"l{len(g.nodes)}_")
    i, c, s = (sub.name() for _ in range(3))
    sub.inputs = [i, c, s]
    sub.values.update({i: np.int64(0), c: np.bool_(True), s: g.value(x)})
    co = sub.node("Identity", [c])
    y = sub.node("Add", [small_body(g, sub, s), x])
    z = sub.node("Identity", [y])
    body = sub.graph_proto("body", [co, y, z])
    trip, go = g.const(np.int64(n)), g.const(np.bool_(True))
    out, seen = g.name(), g.name()
    state, all_seen = g.value(x), []
    for _ in range(n):
        feeds = {s: state}
        for k in sub.nodes:
            if k.output[0] == co:
                continue
            r = sub_eval(sub, k, feeds)
            feeds[k.output[0]] = r
        state = feeds[y]
        all_seen.append(state)
    if not np.all(np.abs(state) < 1e3):
        raise Reject
    g.nodes.append(helper.make_node("Loop", [trip, go, x], [out, seen], body=body))
    g.values[out] = state
    if n:
        g.values[seen] = np.stack(all_seen)
    g.used.update([x])


def sub_eval(sub, k, feeds):
    old = dict(sub.values)
    sub.values.update(feeds)
    try:
        return np.asarray(sub.evaluate(k, [i for i in k.input if i])[0])
    finally:
        sub.values = old


@node(11)
def scan(g):
    x = g.pick(least=2, most=4)
    sub = Graph(g.rng, g.opset, g, f"s{len(g.nodes)}_")
    s, e = sub.name(), sub.name()
    sub.inputs = [s, e]
    first = np.zeros(g.value(x).shape[1:])
    sub.values.update({s: first, e: g.value(x)[0]})
    t = sub.node("Add", [sub.node("Mul", [s, sub.const(np.float64(0.5))]), e])
    u = sub.node("Tanh", [t])
    body = sub.graph_proto("body", [t, u])
    out, rows = g.name(), g.name()
    state, all_rows = first, []
    for v in g.value(x):
        state = state * 0.5 + v
        all_rows.append(np.tanh(state))
    g.nodes.append(helper.make_node("Scan", [g.const(first), x], [out, rows], body=body, num_scan_inputs=1))
    g.values[out], g.values[rows] = state, np.stack(all_rows)
    g.used.update([x])
