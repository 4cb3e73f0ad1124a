#!/usr/bin/env bash
# Lays out what belongs to the command below DIRECTORY, as a system has it below /: the binary, manual pages, completions for bash, zsh
# and fish, the user unit of systemd, and the documents.
#   install.sh BINARY DIRECTORY [PREFIX]    PREFIX is /usr by default; an empty one makes a tree to be unpacked in /usr/local
source "$(dirname "$0")/../ci/begin.sh"
[[ $# -ge 2 && $# -le 3 && $1 != -* ]] || usage
umask 022
prefix=${3-/usr}
binary=$(path "$1") to=$(path "$2")$prefix
[ -x "$binary" ] && [ -f "$binary" ] || fail "$1 is no program"
share=$to/share
mkdir -p "$share/man/man1"
install -D -m 0755 "$binary" "$to/bin/running-process"
"$binary" man "$share/man/man1" >/dev/null
chmod 0644 "$share"/man/man1/*
# completions SHELL FILE
completions() {
  mkdir -p "$(dirname "$2")"
  "$binary" completions "$1" > "$2"
  chmod 0644 "$2"
}
completions bash "$share/bash-completion/completions/running-process"
# Where zsh looks: below /usr in the directory of distributions.
if [ "$prefix" = /usr ]; then functions=vendor-completions; else functions=site-functions; fi
completions zsh "$share/zsh/$functions/_running-process"
completions fish "$share/fish/vendor_completions.d/running-process.fish"
# systemd finds a program without a directory in /usr/local/bin and /usr/bin.
unit=$to/lib/systemd/user/running-process@.service
mkdir -p "$(dirname "$unit")"
sed "s#/usr/bin/running-process#${prefix:+$prefix/bin/}running-process#" packaging/running-process@.service > "$unit"
chmod 0644 "$unit"
install -D -m 0644 -t "$share/doc/running-process" CHANGELOG.md LICENSE-APACHE LICENSE-MIT README.md SECURITY.md
install -D -m 0644 -t "$share/doc/running-process/docs" docs/*.md docs/*.json docs/*.svg
