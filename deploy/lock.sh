#!/usr/bin/env bash
# Writes the lock files anew from pyproject.toml: one per deployable, one for development. Hashes, no index address.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
lock() { # name, requirements on stdin; further options for uv
  local name="$1"
  shift
  "$python" -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --no-annotate --output-file "deploy/locks/$name.txt" "$@" - >/dev/null
}
requirements() { "$python" deploy/requirements.py "$@"; }
agreeing() { lock "$1" --constraint deploy/locks/dev.txt; } # what developers test is what ships
requirements zone zone:vault zone:pkcs11 zone:stripe zone:adyen commerce commerce:embeddings commerce:offers commerce:pydantic-ai auditor dev | lock dev
for deployable in zone commerce auditor; do requirements "$deployable" | agreeing "$deployable"; done
for extra in vault pkcs11 stripe adyen; do requirements zone "zone:$extra" | agreeing "zone-$extra"; done
for extra in embeddings offers pydantic-ai; do requirements commerce "commerce:$extra" | agreeing "commerce-$extra"; done
requirements zone commerce auditor demo | agreeing demo
requirements localstripe | agreeing localstripe # a program that tests start, in an environment of its own: see deploy/test-needs.sh
requirements agent-framework | agreeing agent-framework # an agent that buys in a test: likewise
requirements node | agreeing node # runs the official MCP programs of deploy/mcp-tools: likewise
