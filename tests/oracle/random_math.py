# SPDX-License-Identifier: Apache-2.0
"""Windows and recurrent cells in double, from the operators' definitions: onnx's reference evaluator (1.17) has
other shapes for some of them (auto_pad VALID, windows of one dimension, RNN)."""
import itertools

import numpy as np


def geometry(shape, k, strides, dilations, pads, auto_pad):
    """(padding at the beginning, output sizes)"""
    nd = len(shape)
    begin, out = [], []
    for d in range(nd):
        span = (k[d] - 1) * dilations[d] + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            n = -(-shape[d] // strides[d])
            total = max(0, (n - 1) * strides[d] + span - shape[d])
            begin.append(total // 2 if auto_pad == "SAME_UPPER" else total - total // 2)
            out.append(n)
        else:
            begin.append(pads[d])
            out.append((shape[d] + pads[d] + pads[nd + d] - span) // strides[d] + 1)
    return begin, out


def taps(x, k, strides, dilations, begin, out):
    """x [..., spatial] to [..., out, taps] with NaN where a tap is in the padding."""
    nd = len(k)
    y = np.full(x.shape[:-nd] + tuple(out) + (int(np.prod(k)),), np.nan)
    for at in itertools.product(*map(range, out)):
        for t, tap in enumerate(itertools.product(*map(range, k))):
            p = [o * s + a * d - b for o, s, a, d, b in zip(at, strides, tap, dilations, begin)]
            if all(0 <= i < n for i, n in zip(p, x.shape[-nd:])):
                y[(..., *at, t)] = x[(..., *p)]
    return y


def windows(x, k, strides=None, dilations=None, pads=None, auto_pad="NOTSET", **_):
    nd = len(k)
    strides, dilations, pads = strides or [1] * nd, dilations or [1] * nd, pads or [0] * (2 * nd)
    begin, out = geometry(x.shape[-nd:], k, strides, dilations, pads, auto_pad)
    if min(out) < 1:
        raise ValueError
    return taps(x, k, strides, dilations, begin, out)


def conv(x, w, b, group=1, kernel_shape=None, **attrs):
    y = np.nan_to_num(windows(x, list(w.shape[2:]), **attrs))  # [n, c, out..., taps]
    n, c = x.shape[:2]
    m, cg = w.shape[0], c // group
    parts = []
    for g in range(group):
        wg = w[g * m // group:(g + 1) * m // group].reshape(m // group, cg, -1)
        parts.append(np.einsum("nc...t,mct->nm...", y[:, g * cg:(g + 1) * cg], wg))
    r = np.concatenate(parts, axis=1)
    return r if b is None else r + b.reshape(1, -1, *[1] * (x.ndim - 2))


def max_pool(x, kernel_shape, **attrs):
    return np.nanmax(windows(x, kernel_shape, **attrs), axis=-1)


def average_pool(x, kernel_shape, count_include_pad=0, **attrs):
    y = windows(x, kernel_shape, **attrs)
    return np.nansum(y, -1) / y.shape[-1] if count_include_pad else np.nanmean(y, axis=-1)


def softmax(x, axis, coerced):
    """coerced: over all axes from `axis` on, as before opset 13"""
    v = x.reshape(int(np.prod(x.shape[:axis])), -1) if coerced else x
    e = np.exp(v - v.max(axis=1 if coerced else axis, keepdims=True))
    return (e / e.sum(axis=1 if coerced else axis, keepdims=True)).reshape(x.shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrent(op, x, w, r, b, linear_before_reset=0):
    """One direction: (Y [seq, 1, batch, h], Y_h [1, batch, h])"""
    h = r.shape[2]
    w, r, wb, rb = w[0], r[0], b[0, :w.shape[1]], b[0, w.shape[1]:]
    state, cell, out = np.zeros((x.shape[1], h)), np.zeros((x.shape[1], h)), []
    for xt in x:
        a, s = xt @ w.T + wb, state @ r.T + rb
        if op == "RNN":
            state = np.tanh(a + s)
        elif op == "LSTM":
            i, o, f, c = np.split(a + s, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
            state = sigmoid(o) * np.tanh(cell)
        else:
            z, t = sigmoid(a[:, :h] + s[:, :h]), sigmoid(a[:, h:2 * h] + s[:, h:2 * h])
            n = t * s[:, 2 * h:] if linear_before_reset else (t * state) @ r[2 * h:].T + rb[2 * h:]
            state = (1 - z) * np.tanh(a[:, 2 * h:] + n) + z * state
        out.append(state)
    return np.stack(out)[:, None], state[None]
