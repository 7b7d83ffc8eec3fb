"""Run shards here, in worker processes, or on a Dask cluster; one journal, one progress bar, the same bytes in each case."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from sigssl.data.datadir import Command
from sigssl.errors import UserError
from sigssl.extract.journal import Journal
from sigssl.extract.shards import Job, Outcome, Shard
from sigssl.optional import require

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # shards per worker that wait in the queue: enough that none idles, few enough that the queue stays small


def cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@dataclass(frozen=True)
class Running:
    """How an extraction runs; nothing here changes what comes out.

    Attributes:
        nj: worker processes; 1 runs in this process. Where there are fewer shards than workers, each gets more threads.
        dask: address of a Dask scheduler (`tcp://host:8786`), whose workers take the place of `nj`; they must see the same files.
        min_good: share of good utterances below which the extraction is an error.
        overwrite: start anew where the output folder was begun with other settings or input.
        bar: title of the progress bar; "" shows none.
        source: name of the input, for the record.
    """

    nj: int = 1
    dask: str = ""
    min_good: float = 0.95
    overwrite: bool = False
    bar: str = ""
    source: str = ""


def run(job: Job, shards: Sequence[Shard], journal: Journal, running: Running) -> None:
    """Do every shard that the journal does not hold, and record each as it ends.

    Args:
        job: what is done to a shard.
        shards: all of them.
        journal: what is done already.
        running: where and how.

    Raises:
        UserError: a worker process died, or the cluster cannot be reached.
    """
    todo = [shard for shard in shards if not journal.is_done(shard)]
    nj, dask, bar = running.nj, running.dask, running.bar
    workers = min(nj, len(shards))
    call = functools.partial(
        in_threads, job, max(nj // max(workers, 1), 1)
    )  # from all shards, so that a resumed run computes alike
    total, left = (sum(len(shard.utterances) for shard in some) for some in (shards, todo))
    often = 0.2 if sys.stderr.isatty() else 10.0  # seconds; a log file wants fewer lines than a terminal
    with tqdm(
        total=total, initial=total - left, desc=bar, unit="utt", disable=not bar, dynamic_ncols=True, mininterval=often
    ) as progress:
        seconds, bad = 0.0, 0
        for outcome in _outcomes(call, todo, workers, dask):
            journal.add(outcome)
            seconds, bad = seconds + outcome.seconds, bad + len(outcome.bad)
            rate = seconds / max(progress.format_dict["elapsed"], 1e-9)
            told = f"{seconds / 3600:.2f} h, {rate:.0f} x real time" + (f", {bad} set aside" if bad else "")
            progress.set_postfix_str(told, refresh=False)
            progress.update(len(outcome.entries) + len(outcome.bad))


def in_threads(job: Callable[[Item], Result], threads: int, item: Item) -> Result:
    """Run a job with this many torch threads, and leave their number as it was."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return job(item)
    finally:
        torch.set_num_threads(before)


def start_early(*modules: str) -> None:
    """Let the process from which workers are forked begin now to import `modules`, while this one goes on with its own imports."""
    if _start_method() == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.set_forkserver_preload(list(modules))
        forkserver.ensure_running()


def _outcomes(call: Any, shards: Sequence[Shard], workers: int, dask: str) -> Iterator[Outcome]:
    if dask:
        return _on_cluster(call, shards, dask)
    if workers <= 1:
        return map(call, shards)
    return in_workers(call, shards, workers)


def in_workers(call: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Call a function with each item in worker processes, and give the results as they come.

    Args:
        call: picklable.
        items: likewise.
        workers: how many processes.

    Raises:
        UserError: a worker process died.
    """
    context = multiprocessing.get_context(_start_method())
    waiting, running = deque(items), set[Future[Result]]()
    reader, writer = context.Pipe(duplex=False)
    with reader, writer, ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(reader,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < AHEAD * workers:
                    running.add(pool.submit(call, waiting.popleft()))
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died, most likely for want of memory. What is done is kept: lower --nj, and give the same "
                "command again to go on from there."
            ) from error
        except BaseException:
            writer.close()  # ends the workers, which are in the middle of shards that will be done again
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_method() -> str:
    """Workers forked from a server that holds the imports start in milliseconds and share them; spawned where there is no fork."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" else "spawn"


def _start_worker(reader: Connection) -> None:
    """End this worker when the process that started it closes the other end of `reader`, or is killed; leave Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(reader,), daemon=True).start()


def _end_with(reader: Connection) -> None:
    reader.poll(None)  # nothing is ever sent: it returns when there is nobody left to send
    os._exit(1)


def _on_cluster(call: Any, shards: Sequence[Shard], address: str) -> Iterator[Outcome]:
    """Run through joblib's Dask backend on the scheduler at `address`."""
    import joblib

    distributed = require("distributed", "to run on a Dask cluster (--dask)")
    try:
        client = distributed.Client(address, timeout=30, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--dask {address}: no scheduler answers there ({error}); expected something like tcp://host:8786."
        ) from error
    with client, joblib.parallel_config(backend="dask", client=client):
        tasks = (joblib.delayed(call)(_absolute(shard)) for shard in shards)
        yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)


def _absolute(shard: Shard) -> Shard:
    """The shard with absolute paths, since a cluster's workers run in folders of their own."""
    utterances = [u if isinstance(u.path, Command) else u._replace(path=str(Path(u.path).absolute())) for u in shard.utterances]
    return replace(shard, utterances=tuple(utterances))
