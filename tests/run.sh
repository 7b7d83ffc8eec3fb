#!/usr/bin/env bash
# The whole test suite on a fresh machine: makes .venv, checks style and types, runs the tests.  bash tests/run.sh [pytest words]
set -euo pipefail
cd "$(dirname "$0")/.."
. recipes/env.sh test
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false MPLBACKEND=Agg
ruff check .
ruff format --check .
mypy
python -m pytest -n "${SIGSSL_TEST_JOBS:-2}" --dist loadfile --no-loadscope-reorder "$@"
