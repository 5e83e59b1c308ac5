#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The manual page names every verb, option, method, target and gate that the code has.
cd "${srcdir:-.}" || exit 99
page=doc/quantize.1
bad=0
plain=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$page")
need() {
    printf '%s\n' "$plain" | grep -qw -e "$1" || { echo "$page does not tell $2 $1"; bad=1; }
}
for o in $(sed -n 's/^PTQ_OPTION([^,]*, [^,]*, "\([^"]*\)".*/\1/p' bin/options.def); do need "--$o" option; done
for g in $(sed -n 's/^PTQ_GATE(\([a-z0-9_]*\),.*/\1/p' lib/report/gates.def); do need "$g" gate; done
for m in $(sed -n 's/^PTQ_RANGE(ptq_range_\([a-z0-9_]*\).*/\1/p' lib/quant/ranges.def | sed 's/_search$//') auto; do need "$m" method; done
for t in $(sed -n 's/^PTQ_TARGET(\([a-z0-9_]*\).*/\1/p' lib/quant/targets.def); do need "$t" target; done
for v in $(sed -n 's/^    {"\([a-z]*\)", .[a-z].,.*/\1/p' bin/args.c); do need "$v" verb; done
exit $bad
