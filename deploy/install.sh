#!/usr/bin/env bash
# Makes .venv with exactly the locked packages and this checkout in editable form.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" # trust what this machine trusts, a company proxy included
fail() {
  printf 'install: %s\n' "$1" >&2
  exit 1
}
command -v "$python" >/dev/null || fail "no Python found: install Python 3.11 or newer (Debian: apt-get install python3.11 python3.11-venv)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$("$python" --version) is too old: install Python 3.11 or newer"
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "this Python cannot make environments: apt-get install python3-venv"
echo "install: setting up .venv (about a minute on a first run)" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
uv="$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' deploy/locks/dev.txt)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$uv" ||
  fail "the packages could not be fetched: this step needs the network once"
.venv/bin/python -m uv pip sync --quiet --python .venv/bin/python --require-hashes deploy/locks/dev.txt ||
  fail "the packages could not be fetched: this step needs the network once"
.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-build-isolation --no-deps --editable .
