#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Keeps the table of rooms in doc/architecture.md true: which room may include which. And a type has
# one meaning: no two headers define the same name.
cd "${srcdir:-.}" || exit 99
bad=0
check() { # room, allowed rooms
    room=$1; shift
    for inc in $(grep -ho '#include "lib/[a-z]*/' lib/"$room" -r --include='*.[ch]' --include='*.cu*' --include='*.def' 2>/dev/null |
                 sed 's|.*lib/||; s|/||' | sort -u); do
        case " $room $* " in *" $inc "*) ;; *)
            echo "lib/$room may not include lib/$inc:"; grep -rn "#include \"lib/$inc/" lib/"$room"; bad=1 ;;
        esac
    done
}
check core
check graph core
check onnx core graph
check exec core graph
check cpu core graph exec
check gpu core graph exec observers
check observers core
check calib core graph exec observers
check quant core graph observers
check report core
if grep -rn '#include "lib/' bin include 2>/dev/null; then echo "bin and include use the public API only"; bad=1; fi
if grep -rnE '\b(exit|abort|printf|signal)\(' lib --include='*.c' | grep -vE 'sn?printf|vsn?printf|fprintf|_printf|//|\* '; then
    echo "the library neither prints nor exits"; bad=1
fi
twice=$(grep -rhoE '^(typedef )?(enum|struct|union) ptq_[a-z0-9_]+ \{' lib include --include='*.h' |
        sed 's/ {$//; s/.* //' | sort | uniq -d)
if [ -n "$twice" ]; then echo "defined in several headers:" $twice; bad=1; fi
exit $bad
