#!/bin/sh
# Runs one Kafka node in the foreground, until Ctrl-C: deploy/kafka/run.sh [--secure] [data directory] [port]
# The jars are fetched once, into lib/ beside this script; needs Java 17 or newer and Maven.
# --secure: passwords on port, certificates on port + 2, rights for everybody (see secure.properties); the certificates
# are made in tls/ in the data directory, admin's among them.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
secure=
if [ "${1:-}" = --secure ]; then
    secure=yes
    shift
fi
data=${1:-$here/data}
port=${2:-9092}
jars=$here/lib

for tool in java mvn ${secure:+openssl}; do
    command -v "$tool" >/dev/null || {
        echo "kafka: $tool is not installed; on Debian: apt-get install default-jdk-headless maven openssl" >&2
        exit 1
    }
done

java=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p')
case $java in
    1.* | [1-9] | 1[0-6]) echo "kafka: Java 17 or newer is needed, this is $java" >&2; exit 1 ;;
esac

if [ ! -d "$jars" ] || [ "$here/pom.xml" -nt "$jars" ]; then
    echo "kafka: fetching the broker's jars into $jars, once (54 MB)" >&2
    rm -rf "$jars" "$jars.part"
    mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars.part"
    mv "$jars.part" "$jars"
    touch "$jars"
fi

mkdir -p "$data"
data=$(cd "$data" && pwd)
if [ -n "$secure" ]; then
    tls=$data/tls
    "$here/certificates.sh" "$tls" broker admin
    (umask 077 && cat "$tls/broker.key" "$tls/broker.crt" >"$tls/broker.pem")
    clients="SASL_SSL://127.0.0.1:$port,SSL://127.0.0.1:$((port + 2))"
else
    clients="PLAINTEXT://127.0.0.1:$port"
fi
{
    cat "$here/server.properties"
    if [ -n "$secure" ]; then
        cat "$here/secure.properties"
        echo "ssl.keystore.location=$tls/broker.pem"
        echo "ssl.truststore.location=$tls/ca.crt"
    fi
    echo "listeners=$clients,CONTROLLER://127.0.0.1:$((port + 1))"
    echo "advertised.listeners=$clients"
    echo "controller.quorum.bootstrap.servers=127.0.0.1:$((port + 1))"
    echo "log.dirs=$data/log"
} >"$data/server.properties"

kafka() {
    class=$1
    shift
    # shellcheck disable=SC2086 # options are words
    ${exec:-} java ${KAFKA_HEAP_OPTS:--Xmx1g -Xms256m} \
        -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" \
        -cp "$jars/*" "$class" "$@"
}

if [ ! -f "$data/log/meta.properties" ]; then
    id=$(kafka kafka.tools.StorageTool random-uuid)
    kafka kafka.tools.StorageTool format --standalone -t "$id" -c "$data/server.properties" >/dev/null
fi

echo "kafka: listening on $clients, data in $data; stop with Ctrl-C" >&2
exec=exec
kafka kafka.Kafka "$data/server.properties"
