#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All that a GPU is asked in one go: its tests, then the tables of doc/results.md (products beside cuBLASLt, steps of
# transformers, calibration, whole networks beside PyTorch). What each part printed stays in the folder.
#   device.sh BUILD FOLDER    (make bench-gpu in a build tree; python3 or PYTHON has torch for the peers)
# Whole models are tested where PTQ_SHARED or PTQ_GPU_MODELS names them. Exit status 1 where a test or a program
# fails; missed bars are no error.
build=$1 out=$2 here=$(dirname "$0")
test -n "$out" || { echo "usage: device.sh BUILD FOLDER" >&2; exit 2; }
test -x "$build/bench/bench_gpu" || { echo "$build: a build without CUDA (./configure --with-cuda)" >&2; exit 2; }
mkdir -p "$out"
export PTQ_REQUIRE_GPU=1
passed=0 failed=0 skipped=0

# name, command: runs it, keeps what it prints, shows the last line or (tables) all of those that match
part() {
    name=$1 show=$2
    shift 2
    from=$(date +%s)
    "$@" > "$out/$name.txt" 2> "$out/$name.err"
    case $? in
        0) passed=$((passed + 1)) how= ;;
        77) skipped=$((skipped + 1)) how=" skipped" ;;
        *) failed=$((failed + 1)) how=" FAILED" ;;
    esac
    echo "$name$how, $(($(date +%s) - from)) s"
    grep -E "$show" "$out/$name.txt" | sed 's/^/    /'
    test -z "$how" || tail -5 "$out/$name.err"
}

for t in "$build"/tests/test_gpu_*; do
    case ${t##*/} in *fake* | *.*) continue ;; esac
    test -f "$t" && part "${t##*/}" 'Checks:|:[EF]:|cases|tensors' "$t"
done
python=${PYTHON:-python3}
if "$python" -c 'import torch' 2> /dev/null; then
    part products '^\|' "$python" "$here/products.py" --bench "$build/bench/bench_gpu" --save "$out/bench_gpu.txt"
else
    part bench_gpu '^GEMM 8192' "$build/bench/bench_gpu"
fi
part tails 'us' "$build/bench/bench_tails"
part tails_fast 'us' "$build/bench/bench_tails" --fast-math
part calibration 'first batch' "$build/bench/bench_calib" -n 512 -b 64 -d cuda -r 3
if "$python" -c 'import torch, torchvision, transformers' 2> /dev/null; then
    part networks '^\|' "$python" "$here/networks.py" --quantize "$build/bin/quantize" --work "$out/networks"
    part networks_fast '^\|' "$python" "$here/networks.py" --quantize "$build/bin/quantize" --work "$out/networks" \
        --skip-peers --fast-math --only vit_b_16-256,bert-128
fi
echo "device: $passed passed, $failed failed, $skipped skipped"
test $failed -eq 0
