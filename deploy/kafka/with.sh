#!/usr/bin/env bash
# Runs a command with a Kafka node of its own: deploy/kafka/with.sh PORT COMMAND...
# The command finds it in SESSION_RISK_BROKER; node and data are gone when the command ends. If that variable is set
# already, its broker is used and none is started.
set -euo pipefail

port=$1
shift
if [[ -n "${SESSION_RISK_BROKER:-}" ]]; then exec "$@"; fi

if (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; then
  echo "something listens on 127.0.0.1:$port already: stop it, or set SESSION_RISK_BROKER if it is your Kafka" >&2
  exit 1
fi
data=$(mktemp -d)
"$(dirname "$0")/run.sh" "$data" "$port" & kafka=$!
trap 'kill "$kafka" 2>/dev/null || true; wait "$kafka" 2>/dev/null || true; rm -rf "$data"' EXIT
until (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; do
  kill -0 "$kafka" 2>/dev/null || { echo "Kafka did not start; what it said is above" >&2; exit 1; }
  sleep 1
done
SESSION_RISK_BROKER=127.0.0.1:$port "$@"
