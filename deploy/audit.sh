#!/usr/bin/env bash
# Asks an advisory source whether a pinned dependency has a known weakness: deploy/audit.sh [PYTHON].
# Ends with 0 only if every one was looked up and none has any. The source is PyPI's, or ADVISORIES=osv.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
tool=$(mktemp --directory)
trap 'rm -rf "$tool"' EXIT

"$python" -m pip check
"$python" -m venv "$tool"
"$tool/bin/pip" install --quiet pip-audit==2.10.1
# --strict: without it a source that does not know a package at all counts as good news.
if ! "$tool/bin/pip-audit" --strict --disable-pip --no-deps --progress-spinner off \
  --vulnerability-service "${ADVISORIES:-pypi}" --requirement constraints.txt 2>"$tool/said"; then
  grep -v '^WARNING' "$tool/said" | tail -n 1 >&2
  echo "audit: a dependency has a known weakness, or could not be looked up: see above. This is no all-clear." >&2
  exit 1
fi
