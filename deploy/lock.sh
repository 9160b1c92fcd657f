#!/usr/bin/env bash
# Writes the lock files anew from pyproject.toml: one per deployable, one for development. Hashes, no index address.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
lock() { # name, requirements on stdin
  "$python" -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --no-annotate --output-file "deploy/locks/$1.txt" - >/dev/null
}
requirements() { "$python" deploy/requirements.py "$@"; }
for deployable in zone commerce auditor; do requirements "$deployable" | lock "$deployable"; done
requirements zone commerce auditor demo | lock demo
requirements zone commerce auditor dev | lock dev
