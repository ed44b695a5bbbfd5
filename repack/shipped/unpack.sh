#!/bin/sh
# Unpack the environment of label @LABEL@, release @RELEASE@, on a machine that has nothing: no conda,
# no Python, no network. A POSIX shell, tar, gzip, sed and dd (busybox has them all) are enough.
#     sh THIS [--prefix PREFIX] [--key KEY] [--no-health-check] [--update | --uninstall]
# PREFIX is .conda/envs/@LABEL@ in the home folder; it is the last line on standard output.
# Ends with 0 when the environment is there, 1 it could not be unpacked, 2 wrong usage, 6 damaged or
# wrongly signed, 7 the health check failed (what was there before still is), 8 another one is at work.
set -eu
LC_ALL=C
export LC_ALL

label='@LABEL@'
archive='@ARCHIVE@'
sha256='@SHA256@'
# The prefix that stands in the packed files; all of them are listed in .repack/relocate.txt.
packed='@PACKED@'
packed_length=@PACKED_LENGTH@
# Where the archive begins in this very file; 0: it lies beside it.
payload_at=0

say() { printf '%s\n' "$*" >&2; }
stop() {
    code=$1
    shift
    say "error: $*"
    exit "$code"
}
health_check() {
    @HEALTH_CHECK@
}

# --- what is asked for

prefix=${HOME:-/root}/.conda/envs/$label
key='' update='' uninstall='' check=yes
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --key)
            [ $# -gt 1 ] || stop 2 "$1 needs a value"
            case $1 in --prefix) prefix=$2 ;; *) key=$2 ;; esac
            shift
            ;;
        --prefix=*) prefix=${1#*=} ;;
        --key=*) key=${1#*=} ;;
        --update) update=yes ;;
        --uninstall) uninstall=yes ;;
        --no-health-check) check='' ;;
        -h | --help)
            sed -n '2,8s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) stop 2 "unknown word $1; there are --prefix, --key, --no-health-check, --update, --uninstall" ;;
    esac
    shift
done
self=$0
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case $prefix in
    '') stop 2 "--prefix is empty" ;;
    /*) ;;
    *) prefix=$(pwd)/$prefix ;;
esac
while [ "$prefix" != / ] && [ "${prefix%/}" != "$prefix" ]; do prefix=${prefix%/}; done
# These end a word in the scripts that name the prefix, or a line in the list of files.
case $prefix in
    *[\"\'\`\$\\\|\;\&\<\>:]* | *'
'*) stop 2 "the programs of an environment cannot run from a folder with such characters: $prefix" ;;
esac
prefix_length=$(printf '%s' "$prefix" | wc -c)
if [ "$prefix_length" -gt "$packed_length" ]; then
    stop 2 "the folder may have $packed_length bytes at most, and $prefix has $prefix_length: take another --prefix"
fi
parent=$(dirname -- "$prefix")
name=$(basename -- "$prefix")
new=$parent/.repack-new-$name
old=$parent/.repack-old-$name

is_ours() { grep -q "\"label\": \"$label\"" "$1/.repack/made.json" 2>/dev/null; }

if [ -n "$uninstall" ]; then
    [ -d "$prefix" ] || stop 2 "there is no environment in $prefix"
    is_ours "$prefix" || stop 2 "$prefix was not made by this installer: it is left as it is"
    # Out of sight at once, so that what is cut short is no half environment.
    mv -- "$prefix" "$old"
    rm -rf -- "$old"
    say "done; $prefix is removed"
    printf '%s\n' "$prefix"
    exit 0
fi

# --- one at a time; what a killed run left is removed

mkdir -p -- "$parent" || stop 1 "cannot make $parent"
if ! mkdir -- "$new" 2>/dev/null; then
    [ -d "$new" ] || stop 1 "cannot write to $parent"
    owner=$(cat "$new/.repack-pid" 2>/dev/null || :)
    if [ -n "$owner" ] && kill -0 "$owner" 2>/dev/null; then
        stop 8 "process $owner installs into $prefix already"
    fi
    rm -rf -- "$new"
    mkdir -- "$new" || stop 1 "cannot write to $parent"
fi
echo $$ >"$new/.repack-pid"
# shellcheck disable=SC2317 # called by the trap
clean_up() {
    rm -rf -- "$new"
    # Killed between the two renames of an update: the environment before goes back to its place.
    if [ -d "$old" ] && [ ! -e "$prefix" ]; then mv -- "$old" "$prefix"; fi
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM
if [ -d "$old" ] && [ ! -e "$prefix" ]; then mv -- "$old" "$prefix"; fi
rm -rf -- "$old"
if [ -d "$prefix" ] && rmdir -- "$prefix" 2>/dev/null; then :; fi
if [ -e "$prefix" ]; then
    [ -n "$update" ] || stop 2 "there is something in $prefix already: add --update, or take another --prefix"
    is_ours "$prefix" || stop 2 "$prefix was not made by this installer: it is left as it is"
fi

# --- unpack

payload() {
    if [ "$payload_at" -gt 0 ]; then
        tail -c "+$payload_at" <"$self"
    else
        cat -- "$here/$archive"
    fi
}
if [ "$payload_at" -eq 0 ] && [ ! -f "$here/$archive" ]; then
    stop 6 "$here/$archive is missing"
fi
if command -v sha256sum >/dev/null; then
    found=$(payload | sha256sum)
    [ "${found%% *}" = "$sha256" ] ||
        stop 6 "the packed environment is not what was released: SHA-256 ${found%% *} instead of $sha256"
else
    say "warning: there is no sha256sum here, so the packed environment is not checked"
fi
say "unpacking $label, release @RELEASE@, into $prefix"
payload | gzip -dc | (cd -- "$new" && tar -xof -) || stop 1 "could not be unpacked; is the disk full?"
list=$new/.repack/relocate.txt
[ -f "$list" ] || stop 1 "could not be unpacked; is the disk full?"

# --- write the new prefix into the files that name the old one

tab=$(printf '\t')
temporary=$new/.repack/relocate.tmp
escaped=$(printf '%s' "$prefix" | sed 's/[,&\\]/\\&/g')
# A kernel takes no `#!` line with a space: such scripts look for their program on PATH.
case $prefix in
    *[[:space:]]*) shebang="1s,^#!$packed/bin/,#!/usr/bin/env ," ;;
    *) shebang= ;;
esac

relocate_text() {
    sed -e "$shebang" -e "s,$packed,$escaped,g" <"$1" >"$temporary"
    cat "$temporary" >"$1"
}

# A string of a program: it ends at the first NUL, and what gets shorter is filled up with NULs, so
# that everything behind it stays where it was. $2 is where it ends, then where the prefix stands.
relocate_string() {
    file=$1 end=$2
    shift 2
    first=$1
    filler=$(($# * (packed_length - prefix_length)))
    {
        while [ $# -gt 0 ]; do
            printf '%s' "$prefix"
            from=$(($1 + packed_length))
            until=${2:-$end}
            shift
            if [ "$until" -gt "$from" ]; then
                dd if="$file" bs=1 skip="$from" count=$((until - from)) 2>/dev/null
            fi
        done
        if [ "$filler" -gt 0 ]; then dd if=/dev/zero bs=1 count="$filler" 2>/dev/null; fi
    } >"$temporary"
    dd if="$temporary" of="$file" bs=1 seek="$first" conv=notrunc 2>/dev/null
}

while IFS=$tab read -r kind places path; do
    case $kind in
        text) relocate_text "$new/$path" ;;
        string)
            # shellcheck disable=SC2086 # numbers, one word each
            relocate_string "$new/$path" $places
            ;;
    esac || stop 1 "could not write $path; is the disk full?"
done <"$list"
rm -f -- "$temporary"

# --- check, and put it in its place

if [ -n "$key" ]; then
    checker=$here/../../repack/verify.py
    python=$new/bin/python
    [ -f "$checker" ] || stop 2 "--key needs the channel around this file; this one travels alone"
    [ -x "$python" ] || stop 2 "--key needs a Python, and the label has none: check it elsewhere"
    "$python" -I -B "$checker" "$here/../.." --key "$key" --require-signature >&2 ||
        stop 6 "the channel is not what was released: not installed"
fi
rm -f -- "$new/.repack-pid"
if [ -e "$prefix" ]; then mv -- "$prefix" "$old"; fi
mv -- "$new" "$prefix"
if [ -n "$check" ]; then
    if ! (
        PATH=$prefix/bin:$PATH
        CONDA_PREFIX=$prefix
        export PATH CONDA_PREFIX
        cd -- "$prefix" && health_check
    ) >&2; then
        mv -- "$prefix" "$new"
        stop 7 "the health check failed: not installed"
    fi
fi
rm -rf -- "$old"
say "done; its programs are in $prefix/bin"
printf '%s\n' "$prefix"
exit 0
