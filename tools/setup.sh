#!/usr/bin/env bash
# Makes a virtual environment with torch, an mm stack and this package. Nothing is
# compiled. Safe to run again: a finished one is left as it is.
#
#   tools/setup.sh                    # .venv with the default stack
#   STACK=onedl tools/setup.sh        # .venv-onedl: the maintained fork
#   OPS=compiled tools/setup.sh       # .venv-compiled: mmcv's own operators (C++ compiler)
#   TORCH=2.8.0 tools/setup.sh        # .venv-torch2.8.0
#   PYTHON=python3.12 tools/setup.sh  # built on another interpreter
#   tools/setup.sh --print-venv       # only say which folder that is
set -euo pipefail
cd "$(dirname "$0")/.."

STACK=${STACK:-openmmlab} OPS=${OPS:-torch} TORCH=${TORCH:-2.13.0} PYTHON=${PYTHON:-python3}
say() { printf '\n\033[1m[setup] %s\033[0m\n' "$*"; }
fail() { printf '\n[setup] ERROR: %s\n' "$*" >&2; exit 1; }
case $STACK in openmmlab | onedl) ;; *) fail "STACK=$STACK: use openmmlab or onedl" ;; esac
case $OPS in torch | compiled) ;; *) fail "OPS=$OPS: use torch or compiled" ;; esac
venv=.venv
[ "$STACK" = openmmlab ] || venv+=-$STACK
[ "$OPS" = torch ] || venv+=-$OPS
[ "$TORCH" = 2.13.0 ] || venv+=-torch$TORCH
[ "${1:-}" != --print-venv ] || { echo "$venv"; exit 0; }

# One checksum of everything that decides what is installed: a second run is instant.
inputs=$( (echo "$STACK $OPS $TORCH $PWD"; "$PYTHON" -VV; cat pyproject.toml tools/*.sh) | cksum)
[ "$(cat "$venv/.mmareaaware" 2>/dev/null)" != "$inputs" ] || exit 0

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$PYTHON is missing or older than 3.10: PYTHON=/path/to/python3 tools/setup.sh"
say "1/3 torch $TORCH, the $STACK stack and mmareaaware, into $venv"
"$PYTHON" -m venv --clear "$venv" || fail "no venv (Debian, Ubuntu: apt install python3-venv)"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install "torch==$TORCH" -e ".[$STACK,dev]"
# MMEngine asks for the OpenCV that needs libGL, which a machine without a display lacks.
"$venv/bin/python" -c 'import cv2' 2>/dev/null ||
    pip install -q --force-reinstall --no-deps opencv-python-headless
say "2/3 the operators of mmcv: $OPS"
[ "$OPS" = torch ] || tools/compile_mmcv.sh "$venv/bin/python"
say "3/3 checking that it works"
"$venv/bin/python" -W ignore -m mmareaaware.check
echo "$inputs" >"$venv/.mmareaaware"
say "ready: source $venv/bin/activate"
