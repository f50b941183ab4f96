"""Runs a function in two processes with gloo, as two ranks would."""

import os
from collections.abc import Callable
from contextlib import suppress
from queue import Empty

from torch import distributed, multiprocessing

from tests.processes import FORKED, ensure_server


def rank_0_of_2(function: Callable, port: int, *args):
    """What ``function(rank, world_size, *args)`` returns on rank 0, picklable."""
    ensure_server()
    queue = FORKED.Queue()
    processes = multiprocessing.start_processes(
        _process,
        (function, port, args, queue),
        nprocs=2,
        join=False,
        start_method="forkserver",
    )
    for _ in range(240):
        with suppress(Empty):
            result = queue.get(timeout=1)
            break
        processes.join(timeout=0)  # raises where a process died
    else:
        raise TimeoutError("rank 0 has no result after four minutes")
    while not processes.join(timeout=60):
        pass
    return result


def _process(rank: int, function: Callable, port: int, args: tuple, queue) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    result = function(rank, 2, *args)
    if rank == 0:
        queue.put(result)
    distributed.barrier()
    distributed.destroy_process_group()
