# SPDX-License-Identifier: Apache-2.0
"""Integer products beside cuBLASLt on one GPU: runs bench_gpu, times torch._int_mm (cuBLASLt, int8 operands, int32
result, nothing behind it) on the same products in the same call, and prints one table with the bars.

usage: products.py --bench COMMAND [--save FILE]
COMMAND: bench_gpu. --save: what it printed. Missed bars are no error.

Ours is the fastest row with codes as its result. Both sides are replayed from CUDA graphs and rotate over more than
256 MB of operands; times are medians of 15 replays, spread is the 90th less the 10th percentile
over the median."""
import argparse
import pathlib
import re
import statistics
import subprocess
import sys

# as bench_gpu names them: rows, columns, depth, least factor over cuBLASLt
PRODUCTS = {
    "GEMM 8192 x 8192 x 8192": (8192, 8192, 8192, 1.0),
    "1x1 56 64->256": (256 * 56 * 56, 256, 64, 2.0),
    "1x1 56 64->64": (256 * 56 * 56, 64, 64, 2.0),
    "1x1 28 128->512": (256 * 28 * 28, 512, 128, 2.0),
    "1x1 14 256->1024": (256 * 14 * 14, 1024, 256, 2.0),
    "1x1 14 1024->256": (256 * 14 * 14, 256, 1024, 2.0),
    "1x1 7 512->2048": (256 * 7 * 7, 2048, 512, 2.0),
}
ROTATED, REPLAYS, IN_GRAPH = 256 << 20, 15, 20


def ours(text):
    """The fastest row of each product: name, microseconds, spread."""
    best = {}
    for line in text.splitlines():
        m = re.match(r"(.{26}) (\w+)\s*\*?\s+([\d.]+) us \(\s*([\d.]+) %\)\s+\d+ TOPS", line)
        if not m or m[1].strip() not in PRODUCTS:
            continue
        name, us = m[1].strip(), float(m[3])
        if name not in best or us < best[name][1]:
            best[name] = (m[2], us, float(m[4]))
    return best


def theirs(m, n, k):
    """Microseconds and spread of torch._int_mm."""
    import torch
    sets = max(2, -(-ROTATED // (m * k + n * k + 4 * m * n)))
    operands = [(torch.randint(-128, 128, (m, k), dtype=torch.int8, device="cuda"),
                 torch.randint(-128, 128, (n, k), dtype=torch.int8, device="cuda").t()) for _ in range(sets)]
    results = [torch.empty((m, n), dtype=torch.int32, device="cuda") for _ in range(sets)]
    count = max(IN_GRAPH, sets)

    def some(many):
        for i in range(many):
            a, b = operands[i % sets]
            torch._int_mm(a, b, out=results[i % sets])

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        some(sets)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        some(count)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
    graph.replay()
    marks[0].record()
    for mark in marks[1:]:
        graph.replay()
        mark.record()
    torch.cuda.synchronize()
    times = sorted(1e3 * a.elapsed_time(b) / count for a, b in zip(marks, marks[1:]))
    middle = statistics.median(times)
    return middle, 100 * (times[len(times) * 9 // 10] - times[len(times) // 10]) / middle


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--bench", required=True)
    ap.add_argument("--save", type=pathlib.Path)
    args = ap.parse_args()
    r = subprocess.run([args.bench], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"error: {args.bench}: exit {r.returncode}: {r.stderr.strip()}")
    if args.save:
        args.save.write_text(r.stdout)
    found = ours(r.stdout)
    print("| product | row | us (spread) | TOPS | cuBLASLt int32, us (spread) | ratio | bar |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (m, n, k, least) in PRODUCTS.items():
        row, us, spread = found[name]
        peer, peer_spread = theirs(m, n, k)
        print(f"| {name} | {row} | {us:.1f} ({spread:.1f} %) | {2e-6 * m * n * k / us:.0f} "
              f"| {peer:.1f} ({peer_spread:.1f} %) | {peer / us:.2f} "
              f"| {least}: {'met' if peer / us >= least else 'missed'} |", flush=True)


if __name__ == "__main__":
    main()
