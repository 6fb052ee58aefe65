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
