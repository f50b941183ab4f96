"""Trains and tests the runs of a grid, and stops when it is told to."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Lock, RLock
from typing import IO

from ..config_file import ConfigFileError, check_start
from ..engine.resuming import newest_checkpoint
from ..environment import environment, num_cores
from ..recipes import TOOLS
from .grid import Grid
from .report import write_report
from .run import Run

TAIL = 20  # lines of the log of a run that failed


class RunFailedError(Exception):
    """Training or test of a run ended with an error."""


class Trainer:
    """Trains and tests runs in processes of their own, which it can stop.

    Args:
        jobs: How many run at a time; they share the cores.
        lock_file: An open file that the processes keep open.
    """

    def __init__(self, jobs: int, lock_file) -> None:
        threads = max(1, num_cores() // jobs)
        self.variables = {"OMP_NUM_THREADS": str(threads)} | os.environ
        self.jobs = jobs
        self.lock_file = lock_file
        self.stopped = False
        self._processes = set()
        self._starting = RLock()  # a signal may come while stop() is at work
        self._locks: dict[str, Lock] = defaultdict(Lock)  # of trainings, by run
        self._trained: set[str] = set()

    def __call__(self, run: Run) -> dict:
        """Train and test.

        Returns:
            Versions and device, for ``Run.finish``. That reads a config, which MMEngine
            cannot do in two threads at once.

        Raises:
            RunFailedError: With the end of the log.
        """
        if not self.stopped:
            say(f"{run.name} starts, log: {run.log}")
        note = environment() | dict(
            jobs=self.jobs, threads=int(self.variables["OMP_NUM_THREADS"])
        )
        checkpoint = self._train(run.trained)
        test_dir = run.folder / "test"
        self._call(run, "test.py", run.config, checkpoint, "--work-dir", test_dir)
        return note

    def _train(self, run: Run) -> str | None:
        """The checkpoint of a run, which is trained if it has not been."""
        train_dir = run.folder / "train"
        with self._locks[run.name]:  # of two that test its network one trains it
            if run.name not in self._trained and not run.metrics.exists():
                arguments = run.config, "--work-dir", train_dir, "--resume"
                self._call(run, "train.py", *arguments)
                self._trained.add(run.name)
            elif newest_checkpoint(train_dir) is None:
                raise RunFailedError(
                    f"there is no checkpoint of {run.name}, the numbers are from a "
                    f"record: delete {run.metrics} to train it"
                )
        return newest_checkpoint(train_dir)

    def _call(self, run: Run, tool: str, *arguments) -> None:
        with run.log.open("a") as log:
            with self._starting:
                if self.stopped:
                    raise RunFailedError("stopped")
                process = subprocess.Popen(
                    [sys.executable, TOOLS / tool, *arguments],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.variables | run.grid.variables(run.seed),
                    pass_fds=[self.lock_file.fileno()],
                )
                self._processes.add(process)
            status = process.wait()
            self._processes.discard(process)
        if status:
            tail = run.log.read_text(errors="replace").splitlines()[-TAIL:]
            raise RunFailedError(f"{tool} ended with {status}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End all processes, and start no more."""
        with self._starting:
            self.stopped = True
            for process in list(self._processes):
                process.terminate()


@contextmanager
def locked(out: Path) -> Iterator[IO]:
    """Hold a folder for this process and those it starts, whichever lives longest."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"{out} is in use: an ablation, or a training that one has started, "
                "still runs there"
            ) from None
        yield file


def prepare(grid: Grid, runs: list[Run]) -> list[Run]:
    """Write the configs.

    Returns:
        The runs that are not finished, those last that test the network of another.

    Raises:
        ValueError: A setting does not fit its base or starts from what is not there,
            or the folder of a run has something else in it.
    """
    configs = {}
    for run in dict.fromkeys(each for r in runs for each in (r.trained, r)):
        key = (run.setting, *grid.variables(run.seed).values())
        if key not in configs:
            configs[key] = grid.load(run.setting, run.seed)
        configs[key].randomness.seed = run.seed
        run.prepare(configs[key])
        if run.trained == run and not run.metrics.exists():
            try:
                check_start(configs[key])
            except ConfigFileError as error:
                raise ConfigFileError(f"setting {run.setting}: {error}") from error
    unfinished = [run for run in runs if not run.metrics.exists()]
    return sorted(unfinished, key=lambda run: run.trained != run)


def train_all(grid: Grid, out: Path, runs: list[Run], jobs: int, lock_file) -> int:
    """Train and test.

    Args:
        grid: The grid.
        out: Folder of its runs.
        runs: Are started in this order.
        jobs: How many run at a time.
        lock_file: See ``Trainer``.

    Returns:
        How many failed.

    Raises:
        SystemExit: A signal has stopped it.
    """
    trainer = Trainer(jobs, lock_file)
    signal_number = None

    def stop(number: int, frame) -> None:
        """Raises nothing: Python drops what is raised while it frees an object."""
        nonlocal signal_number
        signal_number = number
        trainer.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    failed = []
    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(trainer, run): run for run in runs}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                if trainer.stopped:
                    break
                run = futures[future]
                name = run.name
                try:
                    content = run.finish(future.result())
                    say(f"{name} done: {summary(grid, content)}")
                except RunFailedError as error:
                    say(f"{name} failed: {error}")
                    failed.append(name)
                else:
                    write_report(grid, out)
                seconds = (time.monotonic() - start) / max(number, min(jobs, len(runs)))
                left = timedelta(seconds=round(seconds * (len(runs) - number)))
                say(f"{number} of {len(runs)} runs, about {left} left")
        finally:
            trainer.stop()
            pool.shutdown(cancel_futures=True)
    if signal_number is not None:
        say("stopped; the same command goes on from here")
        sys.exit(128 + signal_number)
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}")
    return len(failed)


def summary(grid: Grid, content: dict) -> str:
    """Main metric and time of a run."""
    metric = grid.metrics[0]
    value = content["metrics"].get(metric.key)
    shown = "none" if value is None else f"{metric.scale * value:.2f}"
    return f"{metric.name} {shown}, {timedelta(seconds=content['train_seconds'])}"


def say(text: str) -> None:
    """Print with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
