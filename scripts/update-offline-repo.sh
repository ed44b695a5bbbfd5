#!/bin/sh
# Make the offline channel ROOT/LABEL anew from a list of packages:
#
#     REPACK_CHANNELS='https://conda.example.org/t/${TOKEN}/vendor https://conda.example.org/main' \
#         update-offline-repo.sh LABEL TOKEN ROOT PACKAGE...
#
# TOKEN takes the place of ${TOKEN} in REPACK_CHANNELS (in priority order, between spaces); `-`
# takes it from the variable TOKEN, where `ps` does not show it. It is handed on as a variable and
# written nowhere. REPACK_PLATFORMS says for which platforms, this machine's if it says nothing:
# 'linux-64 win-64' for both. A PACKAGE is a MatchSpec: ratingpro 'pytho >=4.1'.
#
# Solves afresh every time. For channels that live on, write labels/LABEL.yaml and use
# `repack label`, which keeps a lock.
set -eu

stop() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

[ $# -ge 4 ] || stop 'usage: update-offline-repo.sh LABEL TOKEN ROOT PACKAGE...'
[ -n "${REPACK_CHANNELS:-}" ] || stop 'REPACK_CHANNELS is not set: the URLs of the upstream channels'
label=$1 token=$2 root=$3
shift 3
case $label in
*[!a-z0-9._-]* | [!a-z0-9]* | '') stop "no label name: $label" ;;
esac
if [ "$token" != - ]; then
    TOKEN=$token
    export TOKEN
fi

case $(uname -s) in
MINGW* | MSYS* | CYGWIN*) here=win-64 ;;
*) here=linux-64 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# One item of a YAML list, whatever is in it.
item() {
    printf "  - '%s'\n" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

{
    echo "label: $label"
    echo 'channels:'
    set -f
    for channel in $REPACK_CHANNELS; do item "$channel"; done
    echo 'platforms:'
    for platform in ${REPACK_PLATFORMS:-$here}; do echo "  $platform: {}"; done
    set +f
    echo 'packages:'
    for package; do item "$package"; done
} >"$work/$label.yaml"

if [ -z "${REPACK:-}" ] && command -v repack >/dev/null; then
    REPACK=repack
fi
if [ -n "${REPACK:-}" ]; then
    "$REPACK" label "$label" --labels-dir "$work" --channels-dir "$root"
else
    project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
    PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} \
        "${PYTHON:-python3}" -m repack label "$label" --labels-dir "$work" --channels-dir "$root"
fi
