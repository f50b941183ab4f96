#!/usr/bin/env bash
# Replaces mmcv's Python by mmcv with compiled operators, in an environment that
# tools/setup.sh made: OPS=compiled tools/setup.sh. About ten minutes on two cores; the
# wheel is kept for the next environment of the same torch and Python.
#
# MAX_JOBS           parallel compiler jobs         (default: all cores)
# FORCE_CUDA=1       compile for CUDA without a GPU in this machine
# MMAREAAWARE_CACHE  where wheels are kept          (default: ~/.cache/mmareaaware)
set -euo pipefail
python=$1
cache=${MMAREAAWARE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmareaaware}
fail() { printf '\n[setup] ERROR: %s\n' "$*" >&2; exit 1; }
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

command -v c++ >/dev/null || fail "no C++ compiler (Debian, Ubuntu: apt install g++)"
"$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    fail "Python.h is missing (Debian, Ubuntu: apt install python3-dev)"

# The newest that mmdet accepts, and that compiles with a torch of today.
mmcv=mmcv==2.1.0
! pip show -q onedl-mmcv 2>/dev/null || mmcv=onedl-mmcv==2.3.6
# Its setup.py imports pkg_resources, which setuptools 81 dropped.
pip install -q 'setuptools<81' wheel ninja psutil packaging
key=$("$python" -c 'import os, sysconfig, torch
from torch.utils.cpp_extension import CUDA_HOME
gpu = torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"
print("cuda" if gpu and CUDA_HOME else "cpu", torch.__version__, sep="_torch-", end="_")
print(sysconfig.get_python_version(), sysconfig.get_platform(), sep="_")')
# Without a toolkit mmcv must not see the GPU, or it insists on compiling for it.
case $key in cpu_*) export CUDA_VISIBLE_DEVICES= ;; esac

wheels=$cache/wheels/${mmcv/==/-}_$key
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
    mkdir -p "$wheels"
    printf 'compiling %s; what it says: %s/log.txt\n' "$mmcv" "$wheels"
    MMCV_WITH_OPS=1 MAX_JOBS=${MAX_JOBS:-$(getconf _NPROCESSORS_ONLN)} \
        pip wheel -v --no-deps --no-build-isolation --no-cache-dir --no-binary :all: \
        -w "$wheels" "$mmcv" >"$wheels/log.txt" 2>&1 &
    job=$!
    while sleep 10 && kill -0 $job 2>/dev/null; do
        step=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$wheels/log.txt" | tail -n 1) || true
        printf '%5d s %s\n' $SECONDS "$step"
    done
    wait $job || { tail -n 40 "$wheels/log.txt" >&2; fail "compiling $mmcv failed"; }
fi
pip uninstall -q -y mmcv-lite onedl-mmcv
# Forced, since the version says nothing of the torch that it was built for
pip install -q --no-index --no-deps --force-reinstall "$wheels"/*.whl
