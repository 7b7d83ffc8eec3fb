#!/usr/bin/env bash
# Stages for recipes, as in Kaldi.  . recipes/lib.sh; options "$@"; stage NAME [--in PATH]... [--out PATH]... -- COMMAND...
# A stage is one command that can be pasted into a shell. It is skipped when its command, its inputs (--in) and its outputs (--out) are as
# they were when it last succeeded; otherwise it runs, with its log in $exp/log/NAME.log. Needs: exp (the folder for logs and stamps).

stage_from=0 stage_to=999 dry_run=false stage_number=0 set_aside=0 stage_from_seen=true stage_to_seen=false

options() {  # --stage A --stop-stage B (numbers or names), --dry-run, --tiny, and VARIABLE settings such as --nj 4 for names the recipe has set
    local name
    while [ $# -gt 0 ]; do
        case "$1" in
            --stage) need_value "$@"; stage_from=$2; shift 2 ;;
            --stop-stage) need_value "$@"; stage_to=$2; shift 2 ;;
            --dry-run) dry_run=true; shift ;;
            -h | --help) usage; exit 0 ;;
            --*)
                name=${1#--}; name=${name//-/_}
                if [ -z "${!name+set}" ] || [[ ! $name =~ ^[a-z_]+$ ]]; then
                    echo "$0: unknown option $1; it knows --stage, --stop-stage, --dry-run and:$(settings)" >&2; exit 2
                fi
                need_value "$@"; printf -v "$name" '%s' "$2"; shift 2 ;;
            *) echo "$0: unexpected word '$1' ('$0 --help' shows the options)" >&2; exit 2 ;;
        esac
    done
    [[ $stage_from =~ ^[0-9]+$ ]] || stage_from_seen=false
}

need_value() { [ $# -ge 2 ] || { echo "$0: $1 needs a value" >&2; exit 2; }; }

settings() { local line; while IFS= read -r line; do printf ' --%s' "${line//_/-}"; done < <(sed -nE 's/^([a-z_]+)=.*# option.*/\1/p' "$0"); }

usage() {  # the recipe's own first comment, then the options
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
    echo; echo "options: --stage N|NAME --stop-stage N|NAME --dry-run$(settings)"
}

stage_wanted() {  # whether stage number $1, name $2 lies between --stage and --stop-stage
    [ "$stage_from" = "$2" ] && stage_from_seen=true
    local wanted=true
    $stage_from_seen || wanted=false
    [[ $stage_from =~ ^[0-9]+$ ]] && [ "$1" -lt "$stage_from" ] && wanted=false
    if [[ $stage_to =~ ^[0-9]+$ ]]; then [ "$1" -gt "$stage_to" ] && wanted=false; elif $stage_to_seen; then wanted=false; fi
    [ "$stage_to" = "$2" ] && stage_to_seen=true
    $wanted
}

fingerprint() {  # of files and folders: the content of small files, size and time of large ones
    local path
    for path in "$@"; do
        if [ -e "$path" ]; then
            find -L "$path" -type f -not -path '*/.*' -size -1024k -print0 | LC_ALL=C sort -z | xargs -0 -r cksum
            find -L "$path" -type f -not -path '*/.*' -size +1023k -printf '%p %s %T@\n' | LC_ALL=C sort
        else
            echo "$path absent"
        fi
    done | cksum
}

stage() {
    local name=$1 inputs=() outputs=() stamp log now path code=0; shift
    while [ "$1" != -- ]; do
        case "$1" in
            --in) inputs+=("$2") ;;
            --out) outputs+=("$2") ;;
            *) echo "lib.sh: stage $name: expected --in, --out or --, got '$1'" >&2; exit 2 ;;
        esac
        shift 2
    done
    shift
    stage_number=$((stage_number + 1))
    stage_wanted "$stage_number" "$name" || return 0
    if $dry_run; then printf '# stage %d: %s\n%s\n' "$stage_number" "$name" "$(pasteable "$@")"; return 0; fi
    stamp=$exp/.done/$name log=$exp/log/$name.log
    mkdir -p "$exp/.done" "$exp/log"
    now="$(pasteable "$@")"$'\n'"$(fingerprint ${inputs[@]+"${inputs[@]}"})"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] && all_there ${outputs[@]+"${outputs[@]}"}; then
        echo "== stage $stage_number: $name: done before, nothing changed"
        return 0
    fi
    rm -f "$stamp"
    echo "== stage $stage_number: $name"; pasteable "$@"
    { "$@" 2>&1 | tee "$log"; } || code=${PIPESTATUS[0]}
    if [ "$code" = 1 ] && all_there ${outputs[@]+"${outputs[@]}"}; then
        set_aside=$((set_aside + 1)); echo "== stage $stage_number: $name: some inputs were set aside, see $log" >&2
    elif [ "$code" != 0 ]; then
        echo "== stage $stage_number: $name FAILED with exit code $code; its log: $log; again from here: bash $0 --stage $name" >&2; exit "$code"
    fi
    for path in ${outputs[@]+"${outputs[@]}"}; do
        [ -e "$path" ] || { echo "== stage $stage_number: $name left no $path; its log: $log" >&2; exit 3; }
    done
    printf '%s\n' "$now" > "$stamp"
}

all_there() { local path; for path in "$@"; do [ -e "$path" ] || return 1; done; }

pasteable() { local line; printf -v line ' %q' "$@"; echo "${line:1}"; }

finish() {  # the last words of a recipe
    if ! $stage_from_seen; then echo "$0: no stage is called '$stage_from'" >&2; exit 2; fi
    if [[ ! $stage_to =~ ^[0-9]+$ ]] && ! $stage_to_seen; then echo "$0: no stage is called '$stage_to'" >&2; exit 2; fi
    $dry_run || [ "$stage_to" != 999 ] || echo "== done: $*"
    [ "$set_aside" = 0 ] || echo "== $set_aside stage(s) set inputs aside; the logs in $exp/log name them" >&2
}
