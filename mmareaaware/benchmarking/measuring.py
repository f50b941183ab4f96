"""How the benchmarks here measure: side by side in one run, memory in its own process.

Times on a busy machine mean little, ratios of neighbours do: the contestants take
turns, another one begins each round, and a ratio is the median of the ratios of the
same round. Peak memory is what a step needs beyond what was there before it.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.progress import track

from ..environment import environment as stack_and_machine
from ..whole_file import write_whole

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


def interleaved_times(
    steps: dict[str, Callable[[], None]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each step in each round, after one round to warm up."""
    names = list(steps)
    times = {name: [] for name in names}
    for i in range(rounds + 1):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            seconds = _time(steps[name])
            if i:
                times[name].append(seconds)
    return times


def ratio(times: list[float], reference: list[float]) -> float:
    """Median over the rounds of the ratio of two steps of the same round."""
    return statistics.median(t / r for t, r in zip(times, reference, strict=True))


def _time(step: Callable[[], None]) -> float:
    if torch.cuda.is_available():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_extra_memory(step: Callable[[], None]) -> float:
    """Peak MiB that a step needs: allocated on the GPU, else resident (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    CLEAR_REFS.write_text("5")  # the peak starts again from here
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    (line,) = (x for x in STATUS.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) / 1024


def peak_memory(
    name: str, make_step: Callable[[str, dict], Callable[[], None]], case: dict
) -> float | None:
    """Peak MiB of a contestant on a case: a GPU's allocator keeps count, else in its
    own process, which is this script again with ``--memory-of``.

    Returns:
        None where it ran out of memory.
    """
    if not torch.cuda.is_available():
        return in_own_process(memory_of=name, **case)
    try:
        return peak_extra_memory(make_step(name, case))
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def in_own_process(**options) -> float | None:
    """Run this script again with these options; the number it prints last.

    Returns:
        None where that process ran out of memory.

    Raises:
        RuntimeError: It failed otherwise.
    """
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, sys.argv[0], *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return json.loads(result.stdout.splitlines()[-1])
    complaints = ("MemoryError", "out of memory", "can't allocate memory")
    if result.returncode == -9 or any(c in result.stderr for c in complaints):
        return None
    raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")


def limit_memory(fraction: float = 0.8) -> None:
    """Fail instead of making the machine swap or kill something else (Linux)."""
    import resource

    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(total * fraction), hard))


def measure_all(
    args: Namespace,
    cases: list[dict],
    make_step: Callable[[str, dict], Callable[[], None]],
    measure: Callable[[dict, int], dict],
) -> list[dict]:
    """Measure each case and write ``<script>.json``; with ``--memory-of`` print the
    memory of a contestant on the first case instead, and end.

    Args:
        args: With ``memory_of``, ``rounds`` and ``out``.
        cases: Options that tell them apart.
        make_step: Makes a contestant's step of a case.
        measure: Of a case and a number of rounds.
    """
    if args.memory_of:
        limit_memory()
        print(json.dumps(peak_extra_memory(make_step(args.memory_of, cases[0]))))
        sys.exit()
    results = [measure(case, args.rounds) for case in track(cases, "cases")]
    args.out.mkdir(parents=True, exist_ok=True)
    write_record(args.out / f"{Path(sys.argv[0]).stem}.json", results)
    return results


def write_record(path: Path, results: list[dict]) -> None:
    """Write what was measured as JSON, a line for each case."""
    lines = ",\n".join(json.dumps(result) for result in results)
    head = json.dumps(environment())
    text = f'{{"environment": {head},\n"results": [\n{lines}\n]}}\n'
    write_whole(path, text)


def environment() -> str:
    """What the numbers depend on, in a line."""
    found = stack_and_machine()
    with contextlib.suppress(PackageNotFoundError):
        found["ultralytics"] = version("ultralytics")
    found["threads"] = torch.get_num_threads()
    found["command"] = " ".join([Path(sys.argv[0]).as_posix(), *sys.argv[1:]])
    return ", ".join(f"{name} {value}" for name, value in found.items())
