#!/bin/sh
# Installs what the tests need beside Python, as far as this user may; says what is missing.
# A test whose part is missing skips itself, or fails where TIDEGATE_REQUIRE=all (as in CI).
set -eu
cd "$(dirname "$0")/.."

# A browser, for the tests of the pages.
if ! command -v chromium >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update
        apt-get -qq install --yes --no-install-recommends chromium fonts-dejavu-core
    else
        echo "setup-tests: no chromium: the tests of the pages need it (as root: apt-get install chromium)" >&2
    fi
fi

# TimescaleDB in WebAssembly, for the tests of its own SQL.
timescale=tests/timescale
if [ -f $timescale/package-lock.json ]; then
    if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
        stamp=$timescale/node_modules/.installed
        if [ ! -f $stamp ] || [ $timescale/package-lock.json -nt $stamp ]; then
            (cd $timescale && npm ci --no-audit --no-fund --loglevel=error)
            touch $stamp
        fi
    else
        echo "setup-tests: no node with npm: the tests of TimescaleDB's SQL need it" >&2
    fi
fi

# Apache Kafka, for the tests with a real broker: jars from Maven, run by Java 17 or newer.
kafka=tests/kafka
java_release() { # e.g. 17; nothing where there is no Java
    java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'
}
can_kafka() {
    command -v mvn >/dev/null 2>&1 && [ "$(java_release)" -ge 17 ] 2>/dev/null
}
if ! can_kafka && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # Debian 12 has Java 17, later ones a newer one as their default.
    apt-get -qq install --yes --no-install-recommends openjdk-17-jre-headless maven ||
        apt-get -qq install --yes --no-install-recommends default-jre-headless maven
fi
if can_kafka; then
    stamp=$kafka/target/.fetched
    if [ ! -f $stamp ] || [ $kafka/pom.xml -nt $stamp ]; then
        echo "setup-tests: fetching Apache Kafka with Maven"
        rm -rf $kafka/target
        if mvn --quiet --batch-mode --file $kafka/pom.xml package; then
            touch $stamp
        else
            echo "setup-tests: no Apache Kafka: the tests with a broker need it" >&2
        fi
    fi
else
    echo "setup-tests: no Java 17 with Maven: the tests with a Kafka broker need them (as root: apt-get install openjdk-17-jre-headless maven)" >&2
fi
