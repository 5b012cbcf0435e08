#!/usr/bin/env bash
# Makes certificates for trying out and tests, not for production: deploy/kafka/certificates.sh DIRECTORY NAME...
# DIRECTORY gets ca.crt, and for each NAME NAME.crt and NAME.key (PEM), good for 30 days, valid for 127.0.0.1 and
# localhost. A client's NAME is who Kafka takes it for. What is there already is kept.
set -euo pipefail

directory=$1
shift
mkdir -p "$directory"
cd "$directory"
umask 077

quietly() { "$@" 2>openssl.log || { cat openssl.log >&2; exit 1; }; }
key() { quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }

if [[ ! -f ca.crt ]]; then
  key ca
  quietly openssl req -x509 -new -key ca.key -sha256 -days 30 -subj "/CN=session-risk trial CA" -out ca.crt
fi
for name in "$@"; do
  if [[ -f $name.crt ]]; then continue; fi
  key "$name"
  quietly openssl req -new -key "$name.key" -sha256 -subj "/CN=$name" -out "$name.csr"
  printf '%s\n' "subjectAltName=IP:127.0.0.1,DNS:localhost" "extendedKeyUsage=serverAuth,clientAuth" >"$name.ext"
  quietly openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days 30 \
    -extfile "$name.ext" -out "$name.crt"
  rm "$name.csr" "$name.ext"
done
rm -f openssl.log
