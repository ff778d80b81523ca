#!/usr/bin/env bash
# Installs the clients that the end-to-end tests drive and the official conformance runner.
# Idempotent, and fast when everything is there. `tools.sh NAME...` installs only the named Go tools;
# `tools.sh bench` installs what `make bench` measures with and beside, which takes minutes to build.
set -uo pipefail

# command            Debian package; docker by its path, as another docker command may be a client without a builder
DEBIAN='
/usr/bin/docker      docker.io
dockerd              docker.io
systemd-analyze      systemd
containerd           containerd
ctr                  containerd
runc                 runc
podman               podman
buildah              buildah
skopeo               skopeo
docker-registry      docker-registry
debootstrap          debootstrap
faketime             faketime
update-ca-certificates ca-certificates
openssl              openssl
strace               strace
mkfs.ext4            e2fsprogs
mkfs.xfs             xfsprogs
losetup              mount
'
# command     module                                                     version   way
# `go install module@version` refuses a module that replaces or excludes another: such a one is installed from
# within a module.
GO_TOOLS='
crane         github.com/google/go-containerregistry/cmd/crane           v0.22.1
oras          oras.land/oras/cmd/oras                                    v1.3.6
regctl        github.com/regclient/regclient/cmd/regctl                  v0.11.7
conformance   github.com/opencontainers/distribution-spec/conformance    v0.0.0-20260831232431-97274622c111
buildkitd     github.com/moby/buildkit/cmd/buildkitd                     v0.34.2   within
buildctl      github.com/moby/buildkit/cmd/buildctl                      v0.34.2   within
'

BENCH_DEBIAN='
/usr/sbin/nginx      nginx-light
docker-registry      docker-registry
openssl              openssl
wrk                  wrk
'
BENCH_GO_TOOLS='
registry      github.com/distribution/distribution/v3/cmd/registry       v3.1.2   direct
olareg        github.com/olareg/olareg/cmd/olareg                        v0.2.2   within
'

problems=()
problem() { problems+=("$1"); }

missing_packages() {
    local command package
    while read -r command package; do
        [ -z "$command" ] && continue
        command -v "$command" >/dev/null || echo "$package"
    done <<<"$DEBIAN" | sort -u
}

install_packages() {
    local -a packages
    read -ra packages <<<"$(missing_packages | tr '\n' ' ')"
    [ ${#packages[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null; then
        problem "missing: ${packages[*]} (Debian's names). This machine has no apt-get: install them with its own package manager; the Docker Engine, containerd and podman tests need Linux."
        return
    fi
    if [ "$(id -u)" != 0 ]; then
        problem "missing: ${packages[*]}. Not root: type  sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}"
        return
    fi
    echo "Installing ${packages[*]}"
    # RUNLEVEL=1 keeps the packages from starting their daemons: the tests start private ones.
    if ! { apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -qy --no-install-recommends "${packages[@]}"; }; then
        problem "apt-get could not install ${packages[*]}; its own messages are above."
    fi
}

install_go_tools() {
    local command module version way bin have
    bin=""
    if command -v go >/dev/null; then
        bin=$(go env GOBIN)
        bin=${bin:-$(go env GOPATH)/bin}
    fi
    while read -r command module version way; do
        [ -z "$command" ] && continue
        case " $* " in "  " | *" $command "*) ;; *) continue ;; esac
        if [ -z "$bin" ]; then
            problem "missing: $command. It needs Go 1.26.8 or newer (https://go.dev/dl or the package golang-go), then  go install $module@$version"
            continue
        fi
        have=$(go version -m "$bin/$command" 2>/dev/null | awk '$1 == "mod" { print $3 }')
        [ "$have" = "$version" ] && continue
        echo "Installing $command $version"
        go_install "$module" "$version" "$way" || problem "go could not install $module@$version; its own messages are above."
    done <<<"$GO_TOOLS"
}

# Outside the tree: no go.mod of ours may choose the versions.
go_install() {
    local module=$1 version=$2 way=$3 folder status=0
    if [ "$way" != within ]; then
        (cd / && go install "$module@$version")
        return
    fi
    folder=$(mktemp -d)
    (cd "$folder" && go mod init tools && go get "$module@$version" && go install "$module") || status=1
    rm -rf "$folder"
    return $status
}

if [ "${1:-}" = bench ]; then
    DEBIAN=$BENCH_DEBIAN
    GO_TOOLS=$BENCH_GO_TOOLS
    shift
fi
[ $# -eq 0 ] && install_packages
install_go_tools "$@"

for line in ${problems[@]+"${problems[@]}"}; do
    echo "tools: $line" >&2
done
[ ${#problems[@]} -eq 0 ]
