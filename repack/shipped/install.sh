#!/bin/sh
# Install label @LABEL@ from this folder into an environment of its own, without network:
#     sh install.sh [--prefix PREFIX] [--conda CONDA] [--key KEY] [--update | --uninstall]
#                   [--no-health-check] [--any-date] [--json]
# Works from anywhere, also from a medium that forbids programs. repack/install.py does it all;
# this finds a conda (CONDA_EXE, PATH, the usual folders) and a Python, best conda's own. Where there
# is none and the channel brings bootstrap/PLATFORM/unpack.sh, that makes the environment alone.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
home=${HOME:-/nonexistent}

find_conda() {
    for conda in "${CONDA_EXE:-}" "$(command -v conda || :)" \
        "$home"/*conda3/bin/conda "$home"/*forge*/bin/conda \
        /opt/*conda*/bin/conda /opt/*forge*/bin/conda /usr/local/*conda*/bin/conda \
        "${MAMBA_EXE:-}" "$(command -v mamba || :)" "$(command -v micromamba || :)"; do
        if [ -f "$conda" ] && [ -x "$conda" ]; then
            printf '%s\n' "$conda"
            return
        fi
    done
}

is_python() {
    [ -n "$1" ] && "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null
}

case $(uname -sm 2>/dev/null || :) in
    "Linux x86_64") bare=$here/bootstrap/linux-64/unpack.sh ;;
    *) bare= ;;
esac
unpack() {
    echo "$1; taking the environment that the channel brings: $bare" >&2
    shift
    exec sh "$bare" "$@"
}

conda=$(find_conda)
bin=$(dirname -- "${conda:-/}")
if [ -n "$conda" ]; then
    CONDA_EXE=$conda
    export CONDA_EXE
fi
if [ -z "$conda" ] && [ -f "$bare" ]; then
    case " $* " in
        *" --conda"* | *" --uninstall "*) ;;
        *) unpack "there is no conda here" "$@" ;;
    esac
fi
for python in "$bin/python" "$bin/../bin/python" "${CONDA_PYTHON_EXE:-}" python3 python; do
    if is_python "$python"; then
        exec "$python" -I -B "$here/repack/install.py" "$@"
    fi
done

if [ -f "$bare" ]; then
    unpack "there is no Python for conda here" "$@"
fi
echo "error: no Python 3.6 or newer here; found as conda: ${conda:-nothing}" >&2
echo "  hint: install Miniconda or Miniforge first, or say where it is with CONDA_EXE" >&2
exit 3
