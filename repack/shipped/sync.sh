#!/bin/sh
# Copy a channel so that its readers see a complete one at any instant:
#     sh sync.sh SOURCE DEST [GRACE]
# Packages go first, then metadata, the manifest last; then, after GRACE seconds (5), what is not
# needed any more. Each file is written beside its place and renamed. Cut off, run it again.
# Needs rsync, or else only what every system has. Ends with 0, or 6 when DEST is not as SOURCE.
set -eu

# Names may hold what a terminal obeys
# shellcheck disable=SC2059  # each call gives a format of its own
say() { printf "$@" | LC_ALL=C tr '\001-\011\013-\037\177' '?' >&2; }

if [ $# -lt 2 ] || [ ! -f "$1/repack/manifest.json" ]; then
    echo "usage: sh sync.sh SOURCE DEST [GRACE]    SOURCE holds repack/manifest.json" >&2
    exit 2
fi
source=${1%/} dest=${2%/} grace=${3:-5}
# A place that begins with - would be an option, one with a colon another machine of rsync's.
case $source in /*) ;; *) source=./$source ;; esac
case $dest in /*) ;; *) dest=./$dest ;; esac
line_break='
'

litter() {
    case "/$1" in
        */._* | */.DS_Store | */Thumbs.db | */desktop.ini | */.repack-* | */__pycache__/*) ;;
        */.cache/* | */System\ Volume\ Information/* | */@eaDir/* | *:Zone.Identifier) ;;
        */.nfs[0-9a-f]* | */.Trash-[0-9]*/* | */.Spotlight-V100/* | */.fseventsd/*) ;;
        *) return 1 ;;
    esac
}

# 1 packages, 2 texts, 3 what clients read first, 4 the manifest
rank() {
    case $1 in
        *.conda | *.tar.bz2) echo 1 ;;
        repack/manifest.json) echo 4 ;;
        */repodata.json*) echo 3 ;;
        *) echo 2 ;;
    esac
}

# Whoever had the folder may have put a link, a pipe or a name with a line break into it: nothing is
# copied to or removed from where it leads. A folder that cannot be read is not an empty one.
check() {
    odd=$(cd -- "$1" && find . \( ! -type f ! -type d \) -o -name "*$line_break*") || {
        say 'error: %s cannot be read to the end\n' "$1"
        exit 2
    }
    [ -z "$odd" ] || {
        say 'error: %s holds links, pipes, or names with a line break:\n%s\n' "$1" "$odd"
        exit 2
    }
}

list() (
    cd -- "$1" && find . -type f | LC_ALL=C sort | while IFS= read -r path; do
        litter "${path#./}" || printf '%s\n' "${path#./}"
    done
)

with_rsync() {
    for wanted in 1 2 3 4; do
        list "$source" | while IFS= read -r path; do
            [ "$(rank "$path")" != "$wanted" ] || printf '%s\n' "$path"
        done | rsync -t --checksum --partial-dir=.repack-partial --files-from=- -- "$source/" "$dest/"
    done
    different=$(list "$source" | rsync -n --checksum --out-format=%n --files-from=- \
        -- "$source/" "$dest/" | grep -v '/$' || :)
    [ -z "$different" ] || failed "$different"
}

put() {
    folder=$dest/$(dirname -- "$1") name=$(basename -- "$1")
    cmp -s -- "$source/$1" "$dest/$1" && return
    mkdir -p -- "$folder"
    rm -f -- "$folder/.repack-$name"
    cp -- "$source/$1" "$folder/.repack-$name"
    cmp -s -- "$source/$1" "$folder/.repack-$name" || failed "$1"
    mv -f -- "$folder/.repack-$name" "$dest/$1"
}

with_cp() {
    for wanted in 1 2 3 4; do
        list "$source" | while IFS= read -r path; do
            [ "$(rank "$path")" != "$wanted" ] || put "$path"
        done
        sync
    done
}

failed() {
    say 'error: not as in %s, run again: %s\n' "$source" "$1"
    exit 6
}

mkdir -p -- "$dest"
check "$source"
check "$dest"
if [ ! -f "$dest/repack/manifest.json" ] && [ -n "$(list "$dest" | grep -Ev '^(noarch|repack|[a-z]+-[0-9a-z]+)/' | head -n 1)" ] \
    && [ ! -f "$dest/install.sh" ]; then
    say 'error: %s holds other things; name a folder of its own\n' "$dest"
    exit 2
fi
if [ -z "${REPACK_NO_RSYNC:-}" ] && command -v rsync >/dev/null; then with_rsync; else with_cp; fi

list "$dest" | while IFS= read -r path; do
    [ -f "$source/$path" ] || printf '%s\n' "$path"
done >"$dest/.repack-old"
if [ -s "$dest/.repack-old" ]; then
    sleep "$grace"
    while IFS= read -r path; do rm -f -- "$dest/$path"; done <"$dest/.repack-old"
fi
rm -f -- "$dest/.repack-old"
printf '%s is as %s\n' "$dest" "$source"
