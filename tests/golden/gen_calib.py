#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes calib.inc: digests of what Pillow 13 and numpy 2.4 give for the tests of lib/calib.
Usage: gen_calib.py [FOLDER WITH data/] > calib.inc"""
import hashlib
import os
import sys

import numpy as np
from PIL import Image


def noise(n):
    """The bytes of a linear congruential generator that the C test also has."""
    x, out = 12345, bytearray()
    for _ in range(n):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(x >> 24)
    return bytes(out)


def digest(a):
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()


FILTERS = {"BILINEAR": Image.BILINEAR, "BICUBIC": Image.BICUBIC, "NEAREST": Image.NEAREST}
SIZES = [(7, 5, 3, 3), (7, 5, 14, 11), (64, 48, 20, 31), (13, 17, 13, 40), (13, 17, 5, 17),
         (1, 1, 4, 4), (100, 3, 1, 1), (33, 29, 32, 32), (640, 480, 56, 42)]

print("/* Made by tests/golden/gen_calib.py: do not edit. */")
print("#ifdef GOLDEN_RESIZE")
for name, f in FILTERS.items():
    for w, h, ow, oh in SIZES:
        for mode, c in (("L", 1), ("RGB", 3), ("F", 1)):
            a = np.frombuffer(noise(w * h * c), np.uint8)
            if mode == "F":
                img = Image.fromarray((a.astype(np.float32) * np.float32(0.7)).reshape(h, w))
            else:
                img = Image.frombytes(mode, (w, h), a.tobytes())
            out = np.asarray(img.resize((ow, oh), f))
            print('{PTQ_FILTER_%s, %d, %d, %d, %d, %d, %d, "%s"},'
                  % (name, mode == "F", w, h, c, ow, oh, digest(out)))
print("#endif")
print("#ifdef GOLDEN_GRAY")
a = np.frombuffer(noise(64 * 64 * 3), np.uint8)
print('"%s"' % digest(np.asarray(Image.frombytes("RGB", (64, 64), a.tobytes()).convert("L"))))
print("#endif")

if len(sys.argv) < 2:
    sys.exit()
import h5py  # noqa: E402

data = os.path.join(sys.argv[1], "data")
mean = np.array([.485, .456, .406], np.float32)
std = np.array([.229, .224, .225], np.float32)


def normalize(x, scale):
    y = (x.astype(np.float32) * np.float32(scale) - mean) / std
    exact = (x.astype(np.float64) / 255 - mean.astype(np.float64)) / std.astype(np.float64)
    assert np.abs(y - exact).max() < 1e-6
    return y.transpose(2, 0, 1)


print("#ifdef GOLDEN_SHARED")
for name in ("cifar10_calib", "tinyimagenet_calib", "tinyimagenet_eval"):
    files = sorted(f for f in os.listdir(os.path.join(data, name)) if f != "labels.txt")
    for i in (0, len(files) // 2, len(files) - 1):
        x = np.asarray(Image.open(os.path.join(data, name, files[i])).convert("RGB"))
        print('{"data/%s", IMAGE, %d, %d, "%s"},' % (name, len(files), i,
                                                    digest(normalize(x, 1 / 255))))
for name in ("cifar10_calib", "cifar10_eval"):
    with h5py.File(os.path.join(data, name + ".h5")) as h:
        n = len(h["images"])
        for i in (0, n // 2, n - 1):
            print('{"data/%s.h5", STORED, %d, %d, "%s"},'
                  % (name, n, i, digest(normalize(h["images"][i], h.attrs["scale"]))))
for name in ("shakespeare_calib", "shakespeare_eval"):
    with h5py.File(os.path.join(data, name + ".h5")) as h:
        n = len(h["tokens"])
        for i in (0, n // 2, n - 1):
            print('{"data/%s.h5", TOKENS, %d, %d, "%s"},' % (name, n, i, digest(h["tokens"][i])))
files = sorted(os.listdir(os.path.join(data, "faces")))
for i in (0, len(files) - 1):
    img = Image.open(os.path.join(data, "faces", files[i])).convert("RGB")
    img = img.resize((320, 240), Image.BILINEAR)
    x = (np.asarray(img).astype(np.float32) * np.float32(1) - np.float32(127)) / np.float32(128)
    print('{"data/faces", FACES, %d, %d, "%s"},' % (len(files), i, digest(x.transpose(2, 0, 1))))
print("#endif")
