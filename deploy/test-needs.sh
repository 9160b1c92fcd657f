#!/usr/bin/env bash
# What tests want besides .venv: localstripe, an agent framework, MCP's own programs, a Chromium and SoftHSM2. PostgreSQL comes as a Python package.
set -euo pipefail
cd "$(dirname "$0")/.."
# Stripe's stand-in and an agent framework run as programs, each in an environment of its own: nothing here imports them.
for program in localstripe agent-framework; do
  if [ -x .venv/bin/python ] && [ "deploy/locks/$program.txt" -nt ".venv/$program/.installed" ]; then
    { .venv/bin/python -m uv venv --quiet --allow-existing --python .venv/bin/python ".venv/$program" &&
      .venv/bin/python -m uv pip sync --quiet --python ".venv/$program/bin/python" --require-hashes "deploy/locks/$program.txt" &&
      touch ".venv/$program/.installed"; } ||
      echo "test: $program could not be fetched; the tests with it will be skipped" >&2
  fi
done
# MCP's own programs likewise, with the Node that they need; the lock names every package with the hash of its bytes.
tools=.venv/mcp-tools
if [ -x .venv/bin/python ] && { [ deploy/mcp-tools/package-lock.json -nt "$tools/.installed" ] ||
  [ deploy/locks/node.txt -nt "$tools/.installed" ]; }; then
  { .venv/bin/python -m uv venv --quiet --allow-existing --python .venv/bin/python "$tools/node" &&
    .venv/bin/python -m uv pip sync --quiet --python "$tools/node/bin/python" --require-hashes deploy/locks/node.txt &&
    cp deploy/mcp-tools/package.json deploy/mcp-tools/package-lock.json "$tools/" &&
    PATH="$PWD/$tools/node/bin:$PATH" npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent &&
    touch "$tools/.installed"; } ||
    echo "test: MCP's own programs could not be fetched; the tests with them will be skipped" >&2
fi
missing=()
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
  missing+=(chromium fonts-dejavu-core)
fi
command -v softhsm2-util >/dev/null || missing+=(softhsm2)
[ "${#missing[@]}" = 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "test: installing ${missing[*]} from Debian's packages" >&2
  export DEBIAN_FRONTEND=noninteractive
  log="$(mktemp)"
  if apt-get update -qq >"$log" 2>&1 && apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    exit 0
  fi
  tail -n 5 "$log" >&2
fi
echo "test: tests that need them will be skipped; to run them: apt-get install ${missing[*]}" >&2
