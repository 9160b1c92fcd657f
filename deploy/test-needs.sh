#!/usr/bin/env bash
# What tests want besides Python packages: a Chromium. PostgreSQL comes as a Python package.
set -euo pipefail
for browser in chromium chromium-browser google-chrome; do
  command -v "$browser" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "test: installing Chromium from Debian's packages" >&2
  export DEBIAN_FRONTEND=noninteractive
  log="$(mktemp)"
  if apt-get update -qq >"$log" 2>&1 && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >>"$log" 2>&1; then
    exit 0
  fi
  tail -n 5 "$log" >&2
fi
echo "test: no Chromium here, so the browser tests will be skipped; to run them: apt-get install chromium" >&2
