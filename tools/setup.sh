#!/usr/bin/env bash
# Makes a virtual environment with torch, an mm stack and this package. Safe to run
# again: what is done is skipped, what was interrupted goes on where it stopped.
#
#   tools/setup.sh                         # .venv with the default stack
#   STACK=onedl tools/setup.sh             # .venv-onedl-torch2.13.0, the maintained fork
#   TORCH=2.8.0 tools/setup.sh             # .venv-openmmlab-torch2.8.0
#   tools/setup.sh --print-venv            # only say which folder that is
#
# PYTHON     the interpreter to build on                     (default: python3)
# MAX_JOBS   parallel compiler jobs for mmcv                 (default: all cores)
# MMAREAAWARE_CACHE  where built mmcv wheels are kept        (default: ~/.cache/mmareaaware)
#
# Versions are pinned in requirements/ and nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."

STACK=${STACK:-openmmlab}
PYTHON=${PYTHON:-python3}
CACHE=${MMAREAAWARE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmareaaware}
default_torch=$(sed -n 's/^torch==//p' requirements/torch.txt)
TORCH=${TORCH:-$default_torch}

say() { printf '\n\033[1m[setup] %s\033[0m\n' "$*"; }
fail() { printf '\n[setup] ERROR: %s\n' "$*" >&2; exit 1; }

case $STACK in
    openmmlab | onedl) ;;
    *) fail "STACK=$STACK is unknown; use STACK=openmmlab or STACK=onedl" ;;
esac
if [ "$STACK" = openmmlab ] && [ "$TORCH" = "$default_torch" ]; then
    venv=.venv
else
    venv=.venv-$STACK-torch$TORCH
fi
[ "${1:-}" != --print-venv ] || { echo "$venv"; exit 0; }

command -v "$PYTHON" >/dev/null || fail "no $PYTHON on PATH; set PYTHON=/path/to/python3"
python=$venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
version_of() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null; }

# One checksum of everything that decides what is installed: a second run is instant.
stamp=$venv/.mmareaaware
inputs=$( (echo "$STACK $TORCH $PWD"; version_of "$PYTHON"
           cat requirements/*.txt pyproject.toml tools/setup.sh) | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$inputs" ] && "$python" -c '' 2>/dev/null; then
    exit 0
fi

say "stack $STACK, torch $TORCH, into $venv"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$PYTHON" --version) is too old; Python 3.10 or newer is needed (PYTHON=...)"
# A half-made environment, or one of another Python, is made anew.
if [ "$(version_of "$python")" != "$(version_of "$PYTHON")" ] ||
    ! pip --version >/dev/null 2>&1; then
    "$PYTHON" -m venv --clear "$venv" ||
        fail "python -m venv failed (on Debian and Ubuntu: apt install python3-venv)"
fi

# The '+cpu' of a local build satisfies ==2.13.0, so pip keeps it.
say "1/4 torch $TORCH and build tools (with CUDA: some GB to download)"
pip install "torch==$TORCH" -r requirements/build.txt

mmcv=$(grep -E '^(onedl-)?mmcv==' "requirements/$STACK.txt")
key=$("$python" - "$mmcv" <<'PY'
import os
import sys
import sysconfig
import torch
from torch.utils.cpp_extension import CUDA_HOME
name = sys.argv[1].replace('==', '-')
python = f'cp{sys.version_info.major}{sys.version_info.minor}'
gpu = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
if gpu and not CUDA_HOME:
    sys.stderr.write('[setup] there is a GPU and no CUDA toolkit (nvcc): mmcv gets CPU '
                     'operators, and NMS will run on the CPU\n')
ops = 'cuda' if gpu and CUDA_HOME else 'cpu'
print(f'{name}_{ops}_torch-{torch.__version__}_{python}_{sysconfig.get_platform()}')
PY
)
# Without a toolkit mmcv must not see the GPU, or it insists on compiling for it.
case $key in *_cpu_*) hide_gpu=(env CUDA_VISIBLE_DEVICES=) ;; *) hide_gpu=(env) ;; esac
wheels=$CACHE/wheels/$key
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
    say "2/4 compiling the operators of $mmcv for this torch: about 10 minutes on 2 cores.
        No wheel is published for it. The result is kept in
        $wheels
        so this happens once. Interrupted? Run the same command again, it goes on."
    command -v c++ >/dev/null || command -v g++ >/dev/null ||
        fail "no C++ compiler found (on Debian and Ubuntu: apt install g++)"
    "$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        fail "Python.h is missing (on Debian and Ubuntu: apt install python3-dev)"
    build=$CACHE/build/$key
    mkdir -p "$build"
    if command -v flock >/dev/null; then
        exec 9>"$build/lock"
        flock -n 9 || fail "another set-up is compiling in $build"
    fi
    if [ ! -f "$build/unpacked" ]; then
        "${hide_gpu[@]}" "$python" -m pip download -q --no-deps --no-build-isolation \
            --no-binary :all: -d "$build" "$mmcv"
        mkdir -p "$build/source"
        tar xzf "$build"/*.tar.gz -C "$build/source" --strip-components=1
        touch "$build/unpacked"
    fi
    # pip builds a local folder in place, so ninja finds the objects of an earlier try.
    set -m  # a process group of its own, so that an interrupt stops all of it
    MAX_JOBS=${MAX_JOBS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)} \
        MMCV_WITH_OPS=1 "${hide_gpu[@]}" "$python" -m pip wheel -v --no-deps \
        --no-build-isolation -w "$build/wheel" "$build/source" >"$build/log.txt" 2>&1 9>&- &
    job=$!
    set +m
    trap 'kill -- -$job 2>/dev/null; exit 130' INT TERM
    start=$SECONDS
    shown=
    while kill -0 $job 2>/dev/null; do
        sleep 2
        step=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$build/log.txt" | tail -n 1 | tr -d ' ') || true
        if [ -t 1 ]; then
            printf '\r        compiled %s after %d s ' "${step:-[preparing]}" $((SECONDS - start))
        elif [ $((SECONDS - start)) -ge $((${shown:-0} + 30)) ]; then
            shown=$((SECONDS - start))
            printf '        compiled %s after %d s\n' "${step:-[preparing]}" "$shown"
        fi
    done
    wait $job || { tail -n 40 "$build/log.txt" >&2
                   fail "compiling $mmcv failed; the whole log: $build/log.txt"; }
    trap - INT TERM
    rm -rf "$wheels" "$wheels.partial"
    mkdir -p "$wheels.partial"
    cp "$build"/wheel/*.whl "$wheels.partial/"
    mv "$wheels.partial" "$wheels"
    rm -rf "$build"
    printf '\n        done in %d s\n' $((SECONDS - start))
else
    say "2/4 mmcv operators: built before, from $wheels"
fi

say "3/4 the $STACK stack and mmareaaware"
# Forced, since the version says nothing of the torch that it was built for
pip install -q --no-index --no-deps --force-reinstall "$wheels"/*.whl
pip install -q --no-build-isolation "torch==$TORCH" -e ".[$STACK,demo,dev]"

say "4/4 checking that it works"
"$python" -m mmareaaware.check

echo "$inputs" >"$stamp"
say "ready: source $venv/bin/activate"
