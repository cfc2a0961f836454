# bash cuts words at `=` and `:` (COMP_WORDBREAKS) and wants only the last piece completed; the program wants whole words.
_docker_machine() {
    local rest=$COMP_LINE current=$2 words=() word blanks i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        blanks=${rest%%[![:blank:]]*}
        rest=${rest#"$blanks"}
        rest=${rest#"$word"}
        # What is right of the cursor does not count. At a lone `=` or `:`, bash says that an empty word follows.
        if ((i == COMP_CWORD)) && [[ $word != [=:]* ]]; then
            word=$current
        fi
        if ((i > 0)) && [[ -z $blanks && ($word == [=:]* || ${words[${#words[@]}-1]} == *[=:]) ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
    done
    local last=${words[${#words[@]}-1]}
    local before=${last%"$current"}
    local IFS=$'\013' found candidate
    found=($(_CLAP_IFS=$IFS _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) _CLAP_COMPLETE_COMP_TYPE=$COMP_TYPE \
        _CLAP_COMPLETE_SPACE=false DOCKER_MACHINE_COMPLETE=bash docker-machine -- "${words[@]}"))
    COMPREPLY=()
    for candidate in "${found[@]}"; do
        # A candidate that is not longer than what stands there already, or that is for another place, is none.
        [[ $candidate == "$before"?* ]] || continue
        candidate=${candidate#"$before"}
        [[ ${COMP_WORDS[COMP_CWORD]} == [\'\"]* ]] || printf -v candidate %q "$candidate"
        COMPREPLY+=("$candidate")
    done
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=:/] ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o bashdefault -o nosort -F _docker_machine docker-machine 2> /dev/null ||
    complete -o bashdefault -F _docker_machine docker-machine
