# Run a program where it sees nothing but an environment and the system's own programs.
#
#     sh jail.sh ROOT PREFIX HIDDEN... -- PROGRAM ARGUMENT...
#
# Started by unshare in user, mount, process and network namespaces of its own, where bubblewrap is
# not installed. ROOT is an empty folder, on which the new root is mounted for this process alone.
# Source: pivot_root(2), mount_namespaces(7).
set -eu
root=$1
prefix=$2
shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd -- "$root"

show() { # a file or folder of the system, read-only
    [ -e "/$1" ] || return 0
    if [ -L "/$1" ] && [ "${1#*/}" = "$1" ]; then
        ln -s -- "$(readlink -- "/$1")" "$1"
        return 0
    fi
    if [ -d "/$1" ]; then
        mkdir -p -- "$1"
    else
        mkdir -p -- "$(dirname -- "$1")"
        : >"$1"
    fi
    mount --rbind -- "/$1" "$1"
    mount -o remount,bind,ro,nosuid,nodev -- "$1"
}

for part in @SHOWN@; do
    show "$part"
done
mkdir -p dev/shm proc tmp
for device in null zero full random urandom; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs tmp
mount -t proc proc proc
while [ "$1" != -- ]; do
    if [ -d ".$1" ]; then
        mount -t tmpfs tmpfs ".$1"
    fi
    shift
done
shift
mkdir -p -- ".$prefix" tmp/home
mount --bind -- "$prefix" ".$prefix"
mount -o remount,bind,ro,nosuid,nodev -- ".$prefix"
mkdir old
pivot_root . old
umount -l /old
rmdir /old
cd -- "$prefix"
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
