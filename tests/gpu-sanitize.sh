#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compute-sanitizer on the device's kernels, every row of lib/gpu/gemm.def by itself on shapes of up to three tiles, and
# on the tests of the other kernels, several at a time:
#   gpu-sanitize.sh TESTS    (folder of the test programs; JOBS at a time, default 6)
# racecheck leaves out the wgmma rows: it does not follow the writes of the tensor copy engine into shared memory, which
# barriers there order (mbarrier), and calls them hazards. initcheck leaves out the lt rows: it does not see some of
# cuBLASLt's kernels store the sums that the own end reads. Rows "fast" run in test_gpu_fast. Exit status 1 where a tool
# reports anything or a test fails, as one does whose row was not run.
tests=$1
test -x "$tests/test_gpu_gemm" || { echo "usage: gpu-sanitize.sh TESTS" >&2; exit 2; }
def=${srcdir:-$(dirname "$0")/..}/lib/gpu/gemm.def
tool=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
out=$(mktemp -d) || exit 2
trap 'rm -rf "$out"' EXIT
export tests tool out PTQ_GPU_SMALL=1 PTQ_REQUIRE_GPU=1 CK_FORK=no

rows=$(sed -n 's/^PTQ_K_GEMM_ROW(\([a-z0-9_]*\)).*/\1/p' "$def" | grep -v fast)
test -n "$rows" || { echo "gpu-sanitize.sh: no rows in $def; srcdir names the source tree" >&2; exit 2; }
for row in $rows; do
    for check in memcheck initcheck synccheck racecheck; do
        case $check$row in racecheckwgmma* | initchecklt*) ;; *) echo "$check gemm $row" ;; esac
    done
done > "$out/list"
for t in half pool attend wide; do
    for check in memcheck initcheck synccheck racecheck; do echo "$check $t -"; done
done >> "$out/list"
for check in memcheck synccheck; do echo "$check fast -"; done >> "$out/list"

# $1: tool, $2: test, $3: row
one='test $3 = - || export PTQ_GPU_GEMM=$3
test $2 != fast || export PTQ_GPU_TUNE=0
f=$out/$1-$2-$3
timeout "${LIMIT:-600}" "$tool" --tool $1 "$tests/test_gpu_$2" > "$f" 2>&1
code=$?
said=$(grep -hE "ERROR SUMMARY|RACECHECK SUMMARY" "$f" | tail -1 | sed "s/^=* //")
ran=$(grep -hE "kernel runs|Checks" "$f" | tr "\n" " ")
verdict=FAILED
case "$code $said" in "0 ERROR SUMMARY: 0 errors" | "0 RACECHECK SUMMARY: 0 hazards"*) verdict=clean ;; esac
echo "$verdict: $1, test_gpu_$2 $3: $said ($ran)"'
xargs -L 1 -P "${JOBS:-6}" sh -c "$one" sh < "$out/list" | tee "$out/said"
bad=$(grep -vc '^clean' "$out/said")
echo "sanitizers: $(grep -c '^clean' "$out/said") clean, $bad not"
test "$bad" = 0
