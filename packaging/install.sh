#!/usr/bin/env bash
# Lays out what belongs to the command below DIRECTORY, as a system has it below /: the binary, manual pages, completions for bash, zsh
# and fish, the user unit of systemd, and the documents.
#   install.sh BINARY DIRECTORY [PREFIX]    PREFIX is /usr
set -euo pipefail
repository=$(realpath "$(dirname "$0")/..")
[ $# -ge 2 ] || { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }
binary=$(realpath "$1") to=$2${3-/usr}
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
completions zsh "$share/zsh/vendor-completions/_running-process"
completions fish "$share/fish/vendor_completions.d/running-process.fish"
install -D -m 0644 "$repository/packaging/running-process@.service" "$to/lib/systemd/user/running-process@.service"
install -D -m 0644 -t "$share/doc/running-process" "$repository"/{CHANGELOG.md,LICENSE-APACHE,LICENSE-MIT,README.md,SECURITY.md}
install -D -m 0644 -t "$share/doc/running-process/docs" "$repository"/docs/*.md "$repository"/docs/*.json "$repository"/docs/*.svg
