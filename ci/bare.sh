#!/usr/bin/env bash
# Runs the README's commands for a fresh clone as an ordinary user of a bare Debian system, which has a C compiler and a Rust toolchain
# and nothing else that Debian's smallest variant lacks.
#   bare.sh [COMMAND]     all commands of the section "Try it", or the one that is given
# Needs root and mmdebstrap, which it installs. The toolchain is that of this machine, and so are the certificates that its registries need.
source "$(dirname "$0")/begin.sh"
[ $# -le 1 ] && [[ ${1:-} != -* ]] || usage
[ "$(id -u)" = 0 ] || fail "needs root"
need git rustc
if ! command -v mmdebstrap >/dev/null; then
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends mmdebstrap >/dev/null
fi
if [ $# -gt 0 ]; then
  commands=("$1")
else
  mapfile -t commands < <(sed -n '/^## Try it/,/^## /p' README.md | sed -n '/^```sh/,/^```/p' | grep -v '^```')
fi
[ ${#commands[@]} -gt 0 ] || { echo "README.md has no commands under 'Try it'"; exit 1; }

scratch=$(mktemp -d)
root=$scratch/root
# Mounts are made in a namespace of their own below, so that nothing of them is left here.
trap 'rm -rf --one-file-system "$scratch"' EXIT

sources=(/etc/apt/sources.list.d/debian.sources)
[ -e "${sources[0]}" ] || sources=(/etc/apt/sources.list)
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,libc6-dev \
  --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' "$suite" "$root" "${sources[@]}" >/dev/null
chroot "$root" useradd --create-home --home-dir /newcomer --shell /bin/sh newcomer
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
git clone --quiet --no-local . "$root/newcomer/running-process"
chroot "$root" chown -R newcomer: /newcomer/running-process
echo "bare: $(chroot "$root" dpkg-query -f . -W | wc -c) packages of Debian $(cat "$root/etc/debian_version"), $(rustc -V)"

cat > "$scratch/enter" <<'SH'
set -e
root=$1 toolchain=$2 command=$3
mkdir -p "$root/opt/rust"
mount --bind "$toolchain" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
exec chroot "$root" setpriv --reuid newcomer --regid newcomer --init-groups --reset-env sh -c \
  "cd ~/running-process && PATH=/opt/rust/bin:\$PATH && export PATH && $command" </dev/null
SH
for command in "${commands[@]}"; do
  echo "bare: $command"
  start=$SECONDS
  unshare --mount --pid --fork --kill-child --propagation private sh "$scratch/enter" "$root" "$(rustc --print sysroot)" "$command"
  echo "bare: passed in $((SECONDS - start)) s: $command"
done
