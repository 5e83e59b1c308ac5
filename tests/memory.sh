#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A model with MIB of weights in external data (tests/gen_model.c) is quantized, checked and compared with
# 1 GiB of memory beside its mapping at most: the limit of the process, and of what is resident. Without
# arguments a smaller one with a smaller limit; "make scale" takes 5 GiB.
b=${top_builddir:-.}
[ "${PTQ_SLOW:-1}" != 0 ] || { echo "SKIP: sanitizers take memory of their own"; exit 77; }
mib=${1:-1024} limit=${2:-704} # MiB
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/ptq-memory-XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
free=$(df -Pm "$dir" | awk 'NR == 2 {print $4}')
[ "$free" -gt $((2 * mib + 1024)) ] || { echo "SKIP: $free MiB free in $dir, $((2 * mib + 1024)) are needed"; exit 77; }
case $(stat -f -c %T "$dir") in tmpfs | ramfs) echo "SKIP: $dir is memory itself"; exit 77 ;; esac

"$b/tests/gen_model" wide "$mib" "$dir/m.onnx" 8 "$dir/x.npy" || exit 1
case "${1:+full}" in
full) how= ;;
*) how="--method mse --no-latency" ;;
esac
# shellcheck disable=SC2086
(ulimit -d $((limit * 1024)) && exec "$b/bin/quantize" "$dir/m.onnx" -d "$dir/x.npy" -o "$dir/q.onnx" -j 2 $how) \
    > "$dir/out" 2> "$dir/err" || { echo "FAILED within $limit MiB of data"; tail -5 "$dir/err"; exit 1; }
peak=$(sed -n 's/.* in \([0-9.]*\) s, peak memory \([0-9]*\) MB.*/\2/p' "$dir/err")
seconds=$(sed -n 's/.* in \([0-9.]*\) s, peak memory \([0-9]*\) MB.*/\1/p' "$dir/err")
echo "$mib MiB of weights: quantized, checked and compared in $seconds s with at most $limit MiB of data, $peak MiB resident"
[ "$peak" -le $((mib + limit)) ] || { echo "FAILED: more than $limit MiB beside the mapping"; exit 1; }

# What the number of samples costs.
for n in 64 1024; do
    "$b/tests/gen_model" wide 64 "$dir/s.onnx" $n "$dir/s.npy" &&
        "$b/bin/quantize" "$dir/s.onnx" -d "$dir/s.npy" -o "$dir/s.q.onnx" -f --method mse --no-compare \
            > "$dir/out" 2> "$dir/err" || { tail -5 "$dir/err"; exit 1; }
    now=$(sed -n 's/.*peak memory \([0-9]*\) MB.*/\1/p' "$dir/err")
    few=${few:-$now}
done
echo "64 MiB of weights: $few MB with 64 samples, $now MB with 1024"
[ "$now" -le $((few + few / 20 + 20)) ] || { echo "FAILED: memory grows with the number of samples"; exit 1; }
