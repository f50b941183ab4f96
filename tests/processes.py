"""Processes forked from one that has imported what tools import, once for all of them.

Each is what a new one would be, but for the seconds that its imports take.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "mmareaaware.ablation",
        "mmareaaware.analysis",
        "mmdet.models",
        "mmyolo.models",
        "pytest",  # of tests that run a function of theirs
        "torch.utils.tensorboard",
    ]
)


def ensure_server() -> None:
    """Starts what forks, without GPUs: a process dies of one that its parent saw.

    Those that are forked see again what their environment says.
    """
    with patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""):
        forkserver.ensure_running()


def start_tool(command, out=os.devnull, err=os.devnull, cwd=None) -> BaseProcess:
    """Starts a tool with its arguments; what it writes goes into two files."""
    arguments = (list(map(str, command)), str(out), str(err), cwd or os.getcwd())
    ensure_server()
    process = FORKED.Process(target=_tool, args=(*arguments, dict(os.environ)))
    process.start()
    return process


def run_tool(command, cwd=None, new=False) -> CompletedProcess:
    """Runs a tool with its arguments; ``new``: in a Python that starts from nothing."""
    if new:
        command = [sys.executable, *map(str, command)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start_tool(command, out, err, cwd)
        process.join()
        texts = out.read_text(), err.read_text()
    return CompletedProcess(command, process.exitcode, *texts)


def _tool(command, out, err, cwd, environment) -> None:
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    sys.path[0] = os.path.dirname(command[0])
    runpy.run_path(command[0], run_name="__main__")
