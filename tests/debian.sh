# For the set-ups of tests; sourced by them.

# Where this machine gets its own packages, if it is a Debian; elsewhere nothing, for debootstrap's default.
debian_mirror() {
    if grep -q '^ID=debian$' /etc/os-release; then
        apt-get indextargets --format '$(CREATED_BY) $(REPO_URI)' |
            awk '$1 == "Packages" && $2 ~ "/debian/?$" { print $2; exit }'
    fi
}

apt_install() { # packages
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends "$@"
}
