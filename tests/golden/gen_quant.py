#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes quant_golden.h: scales and zero points by ONNX Runtime's compute_scale_zp, and the KL
search of TensorRT (GTC 2017) in plain numpy, term by term as on the slide.
Needs numpy and onnxruntime 1.20.1:   python3 gen_quant.py > quant_golden.h"""
import numpy as np
from onnx import TensorProto as T
from onnxruntime.quantization.quant_utils import compute_scale_zp, get_qmin_qmax_for_qType


def histogram(kind, n):
    """Integer arithmetic only, so that the C test makes the same counts."""
    h, s = [], 12345 + kind
    for i in range(n):
        s = (s * 1103515245 + 12345) & 0x7FFFFFFF
        r = s >> 16
        if kind == 0:  # smooth, long tail
            c = 400000000 // ((i + 20) * (i + 20))
        elif kind == 1:  # ragged, with empty bins
            c = r % (1 + 40000000 // ((i + 10) * (i + 10)))
        elif kind == 2:  # flat
            c = 1000 + r % 100
        else:  # bulk at the start, a spike at the end
            c = (50000 // (1 + (i // 16) * (i // 16)) if i < n // 4 else 0) + (7 if i == n - 1 else 0)
        h.append(c)
    return np.array(h, dtype=np.float64)


def divergence(h, first, last, levels):
    inside = h[first:last]
    width = last - first
    p = inside.copy()
    p[0] += h[:first].sum()
    p[-1] += h[last:].sum()
    q = np.zeros(width)
    level = np.arange(width) * levels // width
    for j in range(levels):
        m = level == j
        full = m & (inside > 0)
        if full.any():
            q[full] = inside[m].sum() / full.sum()
    if q.sum() == 0:
        return np.inf
    p /= p.sum()
    q /= q.sum()
    keep = p > 0
    if (q[keep] == 0).any():
        return np.inf
    return float((p[keep] * np.log(p[keep] / q[keep])).sum())


def search(h, levels):
    d = [divergence(h, 0, i, levels) for i in range(levels, len(h) + 1)]
    return levels + int(np.argmin(d)) if np.isfinite(min(d)) else len(h)


print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by gen_quant.py: do not edit. */")
print("static const struct golden_scale {\n    int dtype, symmetric, reduced;\n"
      "    float low, high, scale;\n    int zero_point;\n} golden_scales[] = {")
rng = np.random.default_rng(1)
ranges = [(-0.5, 1.2), (0, 6), (-3, 0), (-1, 1), (-1e-3, 2e3), (1, 5), (-7, -2)]
ranges += [(-float(a), float(b)) for a, b in np.exp(rng.normal(0, 4, (12, 2)))]
for t in (T.UINT8, T.INT8, T.UINT16, T.INT16):
    for symmetric in (False, True):
        for reduced in (False, True):
            qmin, qmax = get_qmin_qmax_for_qType(t, reduce_range=reduced, symmetric=symmetric)
            for lo, hi in ranges:
                lo, hi = np.float32(lo), np.float32(hi)
                z, s = compute_scale_zp(np.array(lo), np.array(hi), qmin, qmax, symmetric)
                print("    {%d, %d, %d, %sf, %sf, %sf, %d}," % (
                    t, symmetric, reduced, float(lo).hex(), float(hi).hex(), float(np.float32(s)).hex(), int(z)))
print("};\n\nstatic const struct golden_kl {\n    int kind, n, levels, end;\n} golden_kl[] = {")
hists = {}
for kind in range(4):
    for n, levels in ((2048, 128), (2048, 256), (700, 128), (128, 128)):
        h = hists.setdefault((kind, n), histogram(kind, n))
        print("    {%d, %d, %d, %d}," % (kind, n, levels, search(h, levels)))
print("};\n\nstatic const struct golden_divergence {\n    int kind, n, first, last, levels;\n"
      "    double d;\n} golden_divergences[] = {")
for kind in range(4):
    for first, last, levels in ((0, 2048, 128), (0, 777, 128), (100, 900, 255), (513, 1025, 256), (31, 2048, 100)):
        d = divergence(hists[(kind, 2048)], first, last, levels)
        print("    {%d, 2048, %d, %d, %d, %s}," % (kind, first, last, levels, "-1" if np.isinf(d) else repr(d)))
print("};")
