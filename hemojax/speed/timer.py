"""Paired timing of several contenders: each in its own process, one round after the other.

JAX and PyTorch in one process fight over threads, and one after the other they meet a machine that has changed in
between. So each contender is prepared in a process of its own, where it then waits (and sleeps) for its turn; a round
runs every contender once, and figures are ratios within rounds.
"""

import contextlib
import importlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hemojax import huge_pages
from hemojax.errors import UserError


class Contender(NamedTuple):
    """Something to be timed.

    Attributes:
        name: in the tables.
        prepare: "module:function"; the function takes the options and returns the parts to time, functions that block
            until their result is there, or `Prepared`.
        options: of that function.
        huge_pages: whether its process keeps the huge pages that `main.py` asked for (see `hemojax.huge_pages`), or
            begins as any other program does.
        environment: what its process has in its environment beside SHARED.
    """

    name: str
    prepare: str
    options: Mapping[str, Any]
    huge_pages: bool = True
    environment: Mapping[str, str] = {}


SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""For every process: JAX would take three quarters of a GPU's memory for itself, and all contenders hold theirs."""
Parts = list[Callable[[], object]]


class Prepared(NamedTuple):
    """What a contender comes with.

    Attributes:
        parts: to time.
        settings: how it runs: on which device, in which dtype, how many images at once.
    """

    parts: Parts
    settings: str


class Timing(NamedTuple):
    """What was measured of one contender.

    Attributes:
        seconds: of every round and part.
        prepare_seconds: import, compilation and the first run of all parts.
        peak_mib: the process's highest resident memory, in MiB.
        settings: see `Prepared`; empty where the contender says nothing.
    """

    seconds: Float[np.ndarray, "rounds parts"]
    prepare_seconds: float
    peak_mib: float
    settings: str


def contest(contenders: Sequence[Contender], rounds: int, warm: bool = True) -> dict[str, Timing]:
    """Time the contenders, interleaved.

    Args:
        contenders: each with its own name.
        rounds: how often each part of each is timed.
        warm: each time after a run that does not count; otherwise only the very first run does not count.

    Raises:
        UserError: a contender failed; its own traceback was printed by its process.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        prepared = []
        for contender in contenders:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs, contender.prepare, dict(contender.options), warm))
            pages = contextlib.nullcontext() if contender.huge_pages else huge_pages.none_for_new_processes()
            with pages, environment(SHARED | dict(contender.environment)):
                process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
            prepared.append(_receive(ours, contender))  # one after the other, so that they do not disturb each other
        seconds = []
        for _ in range(rounds):
            for pipe, contender in zip(pipes, contenders, strict=True):
                pipe.send(True)
                seconds.append(_receive(pipe, contender))
        peaks = []
        for pipe, contender in zip(pipes, contenders, strict=True):
            pipe.send(False)
            peaks.append(_receive(pipe, contender))
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()
    return {
        contender.name: Timing(
            np.array(seconds[row :: len(contenders)]), prepared[row][0], peaks[row], prepared[row][1]
        )
        for row, contender in enumerate(contenders)
    }


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """What is started meanwhile, processes and JAX's backend, sees these variables."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _receive(pipe: Connection, contender: Contender) -> Any:
    try:
        return pipe.recv()
    except EOFError as error:
        raise UserError(f"{contender.name} failed; its own error stands above") from error


def _serve(pipe: Connection, prepare: str, options: dict[str, Any], warm: bool) -> None:
    begun = time.perf_counter()
    module, function = prepare.split(":")
    prepared = getattr(importlib.import_module(module), function)(**options)
    parts, settings = prepared if isinstance(prepared, Prepared) else (prepared, "")
    for part in parts:
        part()
    pipe.send((time.perf_counter() - begun, settings))
    try:
        while pipe.recv():
            pipe.send([_seconds(part, warm) for part in parts])
        pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    except EOFError:  # the contest was given up
        pass


def _seconds(part: Callable[[], object], warm: bool) -> float:
    if warm:
        part()  # while others had their turn, this process lost the caches, and on some machines its memory
    begun = time.perf_counter()
    part()
    return time.perf_counter() - begun
