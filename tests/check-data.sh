#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The embedded data are whole: every file has its checksum, every image its label, and the
# calibration images are balanced over the ten classes.
cd "${srcdir:-.}/data" || exit 99
bad=0
if command -v sha256sum >/dev/null; then
    sha256sum --quiet -c SHA256SUMS || bad=1
fi
for png in calib/*.png; do
    grep -q "^${png#calib/} [0-9]\$" calib/labels.txt || { echo "$png has no label"; bad=1; }
    grep -q "  $png\$" SHA256SUMS || { echo "$png has no checksum"; bad=1; }
done
awk '{ n[$2]++ } END { for (c = 0; c < 10; c++) if (n[c] != 16) { print "class " c ": " n[c] + 0 " images, not 16"; bad = 1 }
                       if (NR != 160) { print NR " images, not 160"; bad = 1 }; exit bad }' calib/labels.txt || bad=1
size=$(wc -c < shapes.onnx)
[ "$size" -lt 1000000 ] || { echo "shapes.onnx has $size bytes"; bad=1; }
exit $bad
