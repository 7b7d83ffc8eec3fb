#!/usr/bin/env bash
# Makes the environment once and activates it:  . recipes/env.sh [EXTRA ...]
# It needs Python 3.10 to 3.13 with pip and venv. Where nothing changed since the last time it only activates (no network).
#   SIGSSL_VENV=DIR     where the environment lives (default: .venv in this repository)
#   SIGSSL_ENV=current  use the Python that is active now, and install nothing
#   PYTHON=python3.12   the interpreter to make it with
#   SIGSSL_PIP_ARGS     more words for pip, for instance to choose a CUDA or CPU build of torch

_sigssl_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

_sigssl_python() {  # the first interpreter of a supported version
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    echo "env.sh: no Python 3.10 to 3.13 found (looked at \$PYTHON, python3, python3.13 ... python). Install one, or set PYTHON." >&2
    return 1
}

_sigssl_env() {
    local venv=${SIGSSL_VENV:-$_sigssl_root/.venv} extras stamp want python
    if [ "${SIGSSL_ENV:-}" = current ]; then
        python -c 'import sigssl' || { echo "env.sh: SIGSSL_ENV=current, but this Python has no sigssl: pip install -e ." >&2; return 1; }
        return 0
    fi
    if [ ! -x "$venv/bin/python" ]; then
        python=$(_sigssl_python) || return 1
        echo "env.sh: making $venv with $("$python" --version)" >&2
        "$python" -m venv "$venv" || { echo "env.sh: 'python -m venv' failed; on Debian: apt-get install python3-venv" >&2; return 1; }
    fi
    extras=$(IFS=,; echo "$*")
    stamp=$venv/.sigssl-${extras:-core}
    want=$(cat "$_sigssl_root/pyproject.toml" "$_sigssl_root/constraints.txt" "$_sigssl_root"/setup.py 2>/dev/null | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
        echo "env.sh: installing sigssl[${extras}] into $venv (a few minutes the first time)" >&2
        # shellcheck disable=SC2086  # SIGSSL_PIP_ARGS is a list of words
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${SIGSSL_PIP_ARGS:-} -c "$_sigssl_root/constraints.txt" \
            -e "$_sigssl_root${extras:+[$extras]}" || { echo "env.sh: installation failed, see above" >&2; return 1; }
        echo "$want" > "$stamp"
    fi
    export PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv"
}

_sigssl_env "$@" || return 1 2>/dev/null || exit 1
