#!/bin/sh
# Installs what the tests need beside Python, as far as this user may; says what is missing.
# A test whose part is missing skips itself, or fails where TIDEGATE_REQUIRE=all (as in CI).
set -eu
cd "$(dirname "$0")/.."
. tests/debian.sh

# A browser, for the tests of the pages.
if ! command -v chromium >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt_install chromium fonts-dejavu-core
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

# PostgreSQL with TimescaleDB from Debian 13, in a folder, for the tests with a true server of it.
trixie=tests/timescale/trixie
remove_part() { # one that was interrupted has the machine's own /proc in it
    awk -v part="$PWD/$trixie.part/" 'index($2, part) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r place; do umount "$place"; done
    rm -rf --one-file-system $trixie.part
}
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup-tests: no TimescaleDB server: the tests with one need root on Debian or Ubuntu, or TIDEGATE_TEST_TIMESCALE_URL" >&2
elif [ ! -d $trixie ]; then
    if ! command -v debootstrap >/dev/null 2>&1; then
        apt_install debootstrap
    fi
    mirror=$(debian_mirror)
    echo "setup-tests: fetching PostgreSQL with TimescaleDB from Debian 13"
    remove_part
    # shellcheck disable=SC2086 # no mirror is no argument
    if debootstrap --variant=minbase --include=postgresql-17,postgresql-17-timescaledb \
        trixie $trixie.part $mirror >$trixie.log 2>&1; then
        rm -rf $trixie.part/var/cache/apt $trixie.part/var/lib/apt $trixie.part/usr/share/doc $trixie.log
        mv $trixie.part $trixie
    else
        echo "setup-tests: no TimescaleDB server: debootstrap failed: $(tail -n 3 $trixie.log)" >&2
        remove_part
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

# Helm, and Prometheus with its checker of rules, for the tests of the chart. One that is installed goes first.
tools=tests/helm/bin
helm_release=v3.19.5
if ! command -v helm >/dev/null 2>&1 && [ ! -x $tools/helm ]; then
    PATH=$PATH:/usr/local/go/bin
    if command -v go >/dev/null 2>&1; then
        echo "setup-tests: building Helm $helm_release with Go"
        GOBIN=$PWD/$tools go install helm.sh/helm/v3/cmd/helm@$helm_release ||
            echo "setup-tests: no Helm: the tests of the chart need it" >&2
    else
        echo "setup-tests: no Helm, and no Go to build it with: the tests of the chart need it" >&2
    fi
fi
if ! { command -v promtool && command -v prometheus; } >/dev/null 2>&1 && [ ! -x $tools/prometheus ]; then
    # Out of Debian's package: installed, it would start a server.
    if [ "$(id -u)" = 0 ] && command -v dpkg-deb >/dev/null 2>&1; then
        fetched=$(mktemp -d)
        apt-get -qq update
        if (cd "$fetched" && apt-get -qq download prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb .); then
            mkdir -p $tools
            mv "$fetched/usr/bin/promtool" "$fetched/usr/bin/prometheus" $tools/
        else
            echo "setup-tests: no Prometheus: the tests of the alerting rules need it" >&2
        fi
        rm -rf "$fetched"
    else
        echo "setup-tests: no Prometheus: the tests of the alerting rules need it (on Debian: apt-get install prometheus)" >&2
    fi
fi

# Network namespaces, for the tests of a cluster on several machines.
if ! command -v ip >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt_install iproute2
    else
        echo "setup-tests: no ip: the tests of several machines need it (as root: apt-get install iproute2)" >&2
    fi
fi
