#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How time and memory grow with the number of nodes: a model half of which is one chain, a tenth one fan
# (tests/gen_model.c). Without arguments a quick test, whose bound is a ratio of processor times, so that slow
# and busy machines pass. "make scale" gives the numbers of nodes and prints the table of doc/results.md.
# The stack is kept small: nothing may recurse over nodes.
b=${top_builddir:-.}
q=$b/bin/quantize
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
ulimit -s 256 || exit 77
sizes="$*" table=yes
[ $# != 0 ] || { sizes="4000 40000" table=no; }

# run NAME COMMAND...: seconds of processor time of the command
run() {
    name=$1; shift
    before=$(awk '{print $16 + $17}' "/proc/$$/stat")
    "$@" > "$tmp/out" 2> "$tmp/err" || { echo "FAILED (exit $?): $*"; tail -3 "$tmp/err"; exit 1; }
    after=$(awk '{print $16 + $17}' "/proc/$$/stat")
    echo "$after $before $(getconf CLK_TCK)" | awk '{printf "%.2f\n", ($1 - $2) / $3}' > "$tmp/$name"
}

job() { # NODES
    run make "$b/tests/gen_model" deep "$1" "$tmp/m.onnx" 4 "$tmp/x.npy"
    run inspect "$q" inspect "$tmp/m.onnx" -q
    run mse "$q" "$tmp/m.onnx" -d "$tmp/x.npy" -o "$tmp/q.onnx" -f -q --method mse --no-latency --no-compare
    peak=
    : > "$tmp/auto"
    [ $table = no ] || run auto "$q" "$tmp/m.onnx" -d "$tmp/x.npy" -o "$tmp/q.onnx" -f --no-latency --no-compare
    [ $table = no ] || peak=$(sed -n 's/.*peak memory \([0-9]*\) MB.*/\1/p' "$tmp/err")
    run compare "$q" compare "$tmp/m.onnx" "$tmp/q.onnx" -d "$tmp/x.npy" -q --layers --no-latency
}

[ $table = no ] || printf '| nodes | inspect | quantize, mse | quantize, auto | compare --layers | whole, microseconds per node | peak memory |\n| --- | --- | --- | --- | --- | --- | --- |\n'
first=
for n in $sizes; do
    job "$n"
    each=$(cat "$tmp/inspect" "$tmp/mse" "$tmp/auto" "$tmp/compare" | awk -v n="$n" '{s += $1} END {printf "%.0f", 1e6 * s / n}')
    [ $table = no ] ||
        printf '| %s | %s s | %s s | %s s | %s s | %s | %s MB |\n' "$n" "$(cat "$tmp/inspect")" "$(cat "$tmp/mse")" \
            "$(cat "$tmp/auto")" "$(cat "$tmp/compare")" "$each" "$peak"
    first=${first:-$each} last=$each
done
# Caches that a larger model no longer fits cost up to a factor of two; a quadratic place costs that of the sizes.
echo "microseconds per node: $first at the first size, $last at the last"
[ "$last" -le $((3 * first + 30)) ] || { echo "FAILED: time grows faster than the number of nodes"; exit 1; }
