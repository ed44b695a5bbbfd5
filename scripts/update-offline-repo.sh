#!/bin/sh
# Make the offline channel ROOT/LABEL anew from a list of packages:
#
#     update-offline-repo.sh LABEL TOKEN ROOT PACKAGE...
#
# update_offline_repo.py beside this file does it, with PYTHON, python3 or python (3.8 or newer), and
# says the rest.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
for python in ${PYTHON:+"$PYTHON"} python3 python; do
    if command -v "$python" >/dev/null 2>&1; then
        exec "$python" "$here/update_offline_repo.py" "$@"
    fi
done
echo 'error: no Python here: put one of 3.8 or newer on PATH, or set PYTHON to it' >&2
exit 2
