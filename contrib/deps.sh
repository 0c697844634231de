#!/bin/bash
# Installs what building, testing, the demo or the benchmark needs and this machine lacks; says so first. With nothing
# missing it does nothing, in a few milliseconds. Usage: contrib/deps.sh [bench|bench-ha|bench-drbd|e2e]
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'deps: %s\n' "$*" >&2; }
die() { printf 'deps: error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [[ $EUID -eq 0 ]]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		die "not root, and no sudo: run as root: $*"
	fi
}

# What is missing is told by the thing that is used, not by dpkg: an own QEMU in PATH is as good.
missing=()
need_program() { have "$1" || missing+=("$2"); }
need_file() {
	local package=$1 file
	shift
	for file in "$@"; do
		[[ -e $file ]] && return
	done
	missing+=("$package")
}

need_program qemu-system-x86_64 qemu-system-x86
need_program qemu-img qemu-utils
need_program ping iputils-ping # make demo
need_program qemu-storage-daemon qemu-system-common # image mount
need_program sfdisk fdisk # from here on: images that image mount's tests mount
need_program mkfs.ext4 e2fsprogs
need_program mkfs.xfs xfsprogs
need_program mkfs.btrfs btrfs-progs
need_program makefs makefs # UFS
need_program ip iproute2 # tests of networks
need_program flock util-linux # likewise
need_program ucarp ucarp # the agent's peers in tests
need_program keepalived keepalived # likewise
need_program named bind9 # what the checks ask, in their tests
need_program nginx nginx-light # likewise
need_program exim4 exim4-daemon-light # likewise
need_program dhcpd isc-dhcp-server # likewise
need_program slapd slapd # likewise
need_program smbd samba # likewise
need_program strace strace # kills a write at each of its calls, in a test
need_program drbdadm drbd-utils # reads drbd.conf in tests; nothing of it is started
need_program rsync rsync # config sync
need_program fence_dummy fence-agents # one of the programs that switch a node off
need_program etcd etcd-server # the second arbiter, in its tests
need_program dig bind9-dnsutils # asks a BIND, in a test
need_file ovmf /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_CODE.fd
need_program gcc gcc # go test -race
need_program as binutils # the boot sectors of the installation test
need_program blkid util-linux
need_file libc6-dev /usr/include/stdlib.h
need_program git git
need_program xz xz-utils # kernel modules of newer Debians
need_file ca-certificates /etc/ssl/certs/ca-certificates.crt
if [[ ${1-} == bench ]]; then
	need_program virsh libvirt-clients
	need_program libvirtd libvirt-daemon-system
	need_program strace strace
fi
if [[ ${1-} == bench-ha ]]; then
	need_program named bind9 # runs beside the groups
	need_file openssh-server /usr/sbin/sshd # rsync over it is what config sync is measured against
	need_program ssh openssh-client # likewise
fi
if [[ ${1-} == bench-drbd ]]; then
	need_program mmdebstrap mmdebstrap # a Debian with keepalived and Pacemaker for the guests; neither is installed here
fi
need_program mandoc mandoc # checks the manual
if [[ ${1-} == e2e ]]; then
	need_program mmdebstrap mmdebstrap
	need_program mke2fs e2fsprogs
	need_program ssh-keygen openssh-client
	need_program smbclient smbclient # somebody in the office
	need_program ldapadd ldap-utils # likewise
fi

# Go: the one in PATH, or the one fetched here earlier, if it is new enough.
wanted=$(sed -n 's/^go //p' go.mod)
export PATH="$PWD/.cache/go/bin:$PATH:/usr/local/go/bin" # as the Makefile has it
new_enough() {
	local version
	have go && version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
	[[ $version == go* && $(printf '%s\n' "$wanted" "${version#go}" | sort -V | head -n 1) == "$wanted" ]]
}
fetch_go=
if ! new_enough; then
	fetch_go=yes
	need_program go golang-go # any Go can fetch a newer one
fi

# The guest for the tests is made of packages that are downloaded, never installed; apt has to know them.
lists=
if ! compgen -G '.cache/guest/*.json' >/dev/null && [[ -z ${KVM_TEST_CACHE-} ]]; then
	apt-cache show busybox-static >/dev/null 2>&1 || lists=yes
fi

update() {
	say "refreshing the package lists (apt-get update)"
	as_root apt-get -q update
}
# Servers come with some packages (BIND, slapd, Samba, a mail server); tests start their own. None is started or begins with
# the machine because of us: policy-rc.d keeps maintainer scripts from it (its manual: 101 is "forbidden"), and what they
# made begin at boot is taken back.
policy=/usr/sbin/policy-rc.d
at_boot() { (shopt -s nullglob; printf '%s\n' /etc/rc[2-5].d/S* /etc/systemd/system/*.wants/*.service | sed 's|.*/||; s|^S[0-9][0-9]||; s|\.service$||' | sort -u); }
install() {
	local before service failed=0 ours=
	before=$(at_boot)
	if [[ ! -e $policy ]]; then
		ours=yes
		trap 'as_root rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" || failed=1
	if [[ -n $ours ]]; then
		as_root rm -f "$policy"
		trap - EXIT
	fi
	for service in $(comm -13 <(echo "$before") <(at_boot)); do
		say "$service is installed for the tests and does not begin with this machine (systemctl enable --now $service, if you want it)"
		if have systemctl; then as_root systemctl disable "$service" >/dev/null 2>&1 || true; fi
		if have update-rc.d; then as_root update-rc.d "$service" disable >/dev/null 2>&1 || true; fi
	done
	return $failed
}

if [[ ${#missing[@]} -gt 0 || -n $lists ]]; then
	have apt-get || die "this is not Debian (no apt-get); please provide: ${missing[*]}"
fi
[[ -n $lists ]] && update
if [[ ${#missing[@]} -gt 0 ]]; then
	say "installing with apt-get: ${missing[*]}"
	if [[ -z $lists ]]; then
		for package in "${missing[@]}"; do
			apt-cache show "$package" >/dev/null 2>&1 || { update; lists=yes; break; }
		done
	fi
	if ! install; then
		[[ -n $lists ]] && die "apt-get could not install ${missing[*]}"
		update # lists that are too old name versions that are gone
		install || die "apt-get could not install ${missing[*]}"
	fi
fi

# A toolchain is a module like any other: even Debian 12's Go 1.19 can fetch it from the module proxy, checked against the
# checksum database. What that Go does not do for it (execute bits, _go.mod) is done here.
if [[ -n $fetch_go ]] && ! new_enough; then
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	*) die "this is no amd64 machine; install Go $wanted or newer from https://go.dev/dl/ and put it into PATH" ;;
	esac
	module="golang.org/toolchain@v0.0.1-go$wanted.linux-$arch"
	say "fetching Go $wanted from the module proxy into .cache (this machine has $(go version 2>/dev/null || echo no Go))"
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	if ! (cd "$scratch" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GOMODCACHE="$OLDPWD/.cache/toolchain" go mod download "$module"); then
		die "no Go $wanted from the module proxy; install it from https://go.dev/dl/ and put it into PATH, then try again"
	fi
	home=.cache/toolchain/$module
	find "$home" -name _go.mod -execdir cp _go.mod go.mod \;
	chmod -R a+x "$home/bin" "$home/pkg/tool"
	ln -sfn "toolchain/$module" .cache/go
	new_enough || die "the Go that was fetched does not run: $home/bin/go"
fi
