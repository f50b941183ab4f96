"""Trains and compares the settings of a grid, each from several seeds.

    python tools/ablation.py configs/_grids_/area_aware_digits.py --out work_dirs/digits

Every run has a folder `<out>/<setting>/seed<k>` with its config, log, checkpoints and,
in the end, metrics.json. The same command again goes on where it stopped: finished runs
are skipped, interrupted ones resume. After every run, and with --report-only at any
time, `<out>` gets results.json, table.md, table.csv and differences.png.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console

from mmareaaware.analysis import Grid, Run, environment, plan, write_report

TOOLS = Path(__file__).parent
TAIL = 20  # lines of the log of a run that failed
CONSOLE = Console(soft_wrap=True, highlight=False)


class RunFailedError(Exception):
    """Training or test of a run ended with an error."""


class Trainer:
    """Trains and tests runs in processes of their own, which it can stop.

    Args:
        jobs: How many run at a time; they share the cores.
        lock: An open file that the processes keep open.
    """

    def __init__(self, jobs: int, lock) -> None:
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        self.environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
        self.lock = lock
        self.stopped = False
        self._processes = set()

    def __call__(self, run: Run) -> dict[str, float]:
        """Train and test.

        Returns:
            The metrics of the test, as they are in ``metrics.json`` too.

        Raises:
            RunFailedError: With the end of the log.
        """
        CONSOLE.print(f"{time.strftime('%H:%M')} {run.name} starts, log: {run.log}")
        train_dir, test_dir = run.folder / "train", run.folder / "test"
        self._call(run, "train.py", run.config, "--work-dir", train_dir, "--resume")
        checkpoint = (train_dir / "last_checkpoint").read_text()
        self._call(run, "test.py", run.config, checkpoint, "--work-dir", test_dir)
        return run.finish(environment())

    def _call(self, run: Run, tool: str, *arguments) -> None:
        if self.stopped:
            raise RunFailedError("stopped")
        with run.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, TOOLS / tool, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                pass_fds=[self.lock.fileno()],
            )
            self._processes.add(process)
            status = process.wait()
            self._processes.discard(process)
        if status:
            tail = run.log.read_text(errors="replace").splitlines()[-TAIL:]
            raise RunFailedError(f"{tool} ended with {status}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End all processes, and start no more."""
        self.stopped = True
        for process in list(self._processes):
            process.terminate()


@contextmanager
def locked(out: Path):
    """Hold a folder for this process and those it starts, whichever lives longest."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"{out} is in use: an ablation, or a training that one started, is "
                "still running there"
            ) from None
        yield lock


def prepare(runs: list[Run]) -> list[Run]:
    """Write the configs, and see that what was begun is what the grid has now.

    Returns:
        The runs that are not finished.
    """
    contents = {}
    for run in runs:
        run.write_config()
        if run.setting not in contents:
            contents[run.setting] = Config.fromfile(run.config)
        contents[run.setting].randomness.seed = run.seed
        run.check_trained(contents[run.setting])
    return [run for run in runs if not run.metrics.exists()]


def train_all(grid: Grid, out: Path, runs: list[Run], jobs: int, lock) -> int:
    """Train what is not finished.

    Returns:
        How many runs failed.
    """
    todo = prepare(runs)
    CONSOLE.print(f"{len(runs)} runs, {len(runs) - len(todo)} of them finished before")
    train = Trainer(jobs, lock)
    failed = []
    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train, run): run for run in todo}
        try:
            for k, future in enumerate(as_completed(futures), 1):
                run = futures[future]
                left = (time.monotonic() - start) / k * (len(todo) - k)
                CONSOLE.print(f"[{k}/{len(todo)}] {outcome(grid, run, future)}")
                if k < len(todo):
                    CONSOLE.print(f"about {timedelta(seconds=round(left))} left")
                if future.exception():
                    failed.append(run.name)
                else:
                    write_report(grid, out)
        finally:  # Ctrl-C or SIGTERM, or an error of our own
            train.stop()
            pool.shutdown(cancel_futures=True)
    if failed:
        CONSOLE.print(f"[red]{len(failed)} failed:[/red] {', '.join(failed)}")
    return len(failed)


def outcome(grid: Grid, run: Run, future: Future) -> str:
    error = future.exception()
    if error is None:
        main = grid.metrics[0]
        value = main.scale * future.result().get(main.key, float("nan"))
        return f"{time.strftime('%H:%M')} {run.name} done, {main.name} {value:.2f}"
    if isinstance(error, RunFailedError):
        return f"{run.name} failed: {error}"
    raise error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", help="file in configs/_grids_, or one like them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the grid's")
    parser.add_argument("--settings", nargs="+", help="only these of the grid")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, each with its share of the cores (or OMP_NUM_THREADS)",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="train nothing; tables and plot"
    )
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    return args


def main() -> int:
    args = parse_args()
    MMLogger.get_current_instance().setLevel("WARNING")  # a line for each config
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        grid = Grid(args.grid)
        settings = args.settings or list(grid.settings)
        grid.check_names(settings)
        if args.report_only:
            failures = 0
            write_report(grid, args.out)
        else:
            runs = list(plan(grid, args.out, settings, args.seeds or grid.seeds))
            with locked(args.out) as lock:
                failures = train_all(grid, args.out, runs, args.jobs, lock)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
