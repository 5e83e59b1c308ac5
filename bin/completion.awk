# SPDX-License-Identifier: Apache-2.0
# Completion for bash, from the tables of the command: awk -f completion.awk args.c options.def > quantize.bash
/^    \{"[a-z]+", '.',/ {
    split($0, part, "\"")
    split($0, quote, "'")
    verb[++verbs] = part[2]
    letter[verbs] = quote[2]
}
/^PTQ_OPTION\(/ {
    # field, short letter, "long", "argument" or NULL, kind, "verbs", "help"
    n = split($0, part, "\"")
    of = part[3] ~ /NULL/ ? part[4] : part[6]
    if (part[3] !~ /NULL/)
        takes = takes "|--" part[2]
    short = $2 ~ /^'.',$/ ? " -" substr($2, 2, 1) : ""
    if (short != "" && part[3] !~ /NULL/)
        takes = takes "|" substr(short, 2)
    for (i = 1; i <= verbs; i++)
        if (index(of, letter[i]))
            list[i] = list[i] " --" part[2] short
}
END {
    print "# Completion of quantize for bash: verbs, the options of each, files. Made from the command's tables of options."
    print "_quantize_options()\n{\n    case $1 in"
    for (i = 1; i <= verbs; i++) {
        print "    " verb[i] ") echo \"" substr(list[i], 2) " --help -h --version\" ;;"
        names = names (i > 1 ? " " : "") verb[i]
    }
    print "    esac\n}\n\n_quantize()\n{"
    print "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=run v"
    print "    local verbs=\"" names "\""
    print "    COMPREPLY=()"
    print "    for v in $verbs; do\n        [[ ${COMP_WORDS[1]} == \"$v\" ]] && verb=$v\n    done"
    print "    case $prev in"
    print "    " substr(takes, 2) ") return 0 ;; # an argument: files"
    print "    esac"
    print "    if [[ $cur == -* ]]; then"
    print "        COMPREPLY=($(compgen -W \"$(_quantize_options \"$verb\")\" -- \"$cur\"))"
    print "    elif [[ $COMP_CWORD == 1 ]]; then"
    print "        COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\")) # else a model"
    print "    fi\n}"
    print "complete -o bashdefault -o default -F _quantize quantize"
}
