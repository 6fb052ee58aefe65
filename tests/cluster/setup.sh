#!/bin/sh
# Installs what the tests in a Kubernetes need, as root on Debian: programs by apt, the rest built from
# its sources with Go; the first time takes twenty minutes. Then the image, by the Dockerfile.
set -eu
cd "$(dirname "$0")"
. ../debian.sh
PATH=$PATH:/usr/local/go/bin
export GOFLAGS=-mod=readonly

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || ! command -v go >/dev/null 2>&1; then
    echo "setup-cluster: a Kubernetes for tests needs root on Debian or Ubuntu, and Go 1.26" >&2
    exit 1
fi

for program in buildah runc containerd etcd iptables ipset conntrack debootstrap ip gcc /usr/lib/cni/bridge; do
    if ! command -v $program >/dev/null 2>&1; then
        apt_install buildah runc containerd etcd-server iptables ipset \
            conntrack debootstrap iproute2 gcc libc6-dev containernetworking-plugins
        break
    fi
done

mkdir -p bin
built() { # folder: whether all of it was built after it was last changed
    [ -f "bin/.$1" ] && [ -z "$(find "$1" -newer "bin/.$1" -type f)" ]
}
version=$(cd kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
said=k8s.io/component-base/version
for module in kubernetes policies metrics keda; do
    built $module && continue
    echo "setup-cluster: building $module with Go"
    (cd $module && go build -trimpath -ldflags "-s -w -X $said.gitVersion=$version" -o ../bin/ tool)
    touch bin/.$module
done
if [ ! -d bin/crds ] || [ bin/.keda -nt bin/crds ]; then
    rm -rf bin/crds
    mkdir bin/crds
    cp "$(cd keda && go list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)"/config/crd/bases/*.yaml bin/crds/
fi
if ! built names; then
    echo "setup-cluster: building names with Go"
    (cd names && go build -trimpath -ldflags '-s -w' -o ../bin/coredns .)
    touch bin/.names
fi

# Images, in the machine's own store. python:...-slim-bookworm is a registry's; where none is reached, one
# of Debian 12 with its own Python stands in for it.
archive() { # image, name to give it, file
    rm -f "bin/$3"
    buildah push --quiet "$1" "docker-archive:$PWD/bin/$3:$2"
}
python=3.11
base=docker.io/library/python:$python-slim-bookworm
if [ -z "$(buildah images --quiet $base 2>/dev/null)" ] && ! buildah pull --quiet $base >/dev/null 2>&1; then
    echo "setup-cluster: no registry reached, Debian 12 stands in for $base"
    mirror=$(debian_mirror)
    root=$(mktemp -d)
    # shellcheck disable=SC2086 # no mirror is no argument
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" $mirror >bin/debootstrap.log
    ln -s python3 "$root/usr/bin/python"
    # Whom this machine trusts, for pip.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    made=$(buildah from scratch)
    buildah add --quiet "$made" "$root" / >/dev/null
    buildah config --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt --cmd python3 "$made"
    buildah commit --quiet --rm "$made" $base >/dev/null
    rm -rf --one-file-system "$root"
fi
if [ ! -f bin/pause.tar ] || [ pause.c -nt bin/pause.tar ]; then
    gcc -O2 -static -o bin/pause pause.c
    made=$(buildah from scratch)
    buildah copy --quiet "$made" bin/pause /pause >/dev/null
    buildah config --entrypoint '["/pause"]' --user 65535:65535 "$made"
    archive "$(buildah commit --quiet --rm "$made")" localhost/pause:1 pause.tar
fi
# With the server's own pg_dump, for backups.
if [ ! -f bin/postgres.tar ]; then
    made=$(buildah from scratch)
    buildah add --quiet "$made" ../timescale/trixie / >/dev/null
    buildah config --env PATH=/usr/lib/postgresql/17/bin:/usr/bin:/bin "$made"
    archive "$(buildah commit --quiet --rm "$made")" docker.io/library/postgres:17 postgres.tar
fi
echo "setup-cluster: building the image"
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' ../../tidegate/__init__.py)
image=docker.io/library/tidegate:$version
buildah build --isolation chroot --network host --pull-never --layers --build-arg PYTHON=$python \
    --tag "$image" ../.. >bin/image.log 2>&1 || { tail -n 20 bin/image.log >&2; exit 1; }
now=$(buildah images --quiet --no-trunc "$image")
if [ "$now" != "$(cat bin/.image 2>/dev/null)" ]; then
    archive "$image" "$image" tidegate.tar
    echo "$now" >bin/.image
fi
