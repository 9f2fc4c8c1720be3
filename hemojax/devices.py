"""The devices and hosts of a run: each host holds the whole state and explains its own share of the slices."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from hemojax.errors import UserError

Computed = TypeVar("Computed")

AXIS = "data"
"""Name of the axis over which batches are divided, in the pmapped training step and in the mesh."""

LONGEST = 7 * 24 * 3600
"""Seconds for which hosts that are done wait for the first, which scores and reports alone. JAX's 5 minutes would abort
the run of each of them. A host that dies is noticed all the same, by its heartbeat."""


def join_hosts(coordinator: str | None, hosts: int | None, host: int | None) -> None:
    """Connect this process to the other hosts of its run; only the first one goes on printing.

    Args:
        coordinator: address and port of the first host; None where JAX finds the hosts by itself (TPU, Slurm,
            Kubernetes, Open MPI).
        hosts: how many there are, or None.
        host: this one's number, from 0, or None.

    Raises:
        UserError: the hosts are not found.
    """
    try:
        jax.distributed.initialize(coordinator, hosts, host, shutdown_timeout_seconds=LONGEST)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--distributed: {reason} Give --coordinator=HOST:PORT, --hosts=N, --host=I") from error
    if not is_first_host():
        contextlib.redirect_stdout(None).__enter__()


def is_first_host() -> bool:
    """Whether this process is the one that writes tables and prints."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Go on when every host has come to the point of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def platform(mesh: Mesh | None = None) -> str:
    """What a program on this mesh is compiled for: "cpu", "gpu" or "tpu"; without one, on this process's devices."""
    return mesh.devices.flat[0].platform if mesh is not None else jax.default_backend()


def mesh() -> Mesh:
    """All devices of this process along AXIS."""
    return jax.make_mesh((jax.local_device_count(),), (AXIS,), (AxisType.Auto,), devices=jax.local_devices())


def described() -> str:
    """How many devices of which kind this run has, on all hosts, for its tables."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def memory() -> int:
    """Bytes of memory of each device of this process, or 0 where it does not say, as a CPU does not."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] if stats else 0


def whole_batch(number: int) -> int:
    """The next multiple of the number of this process's devices."""
    return -(-number // jax.local_device_count()) * jax.local_device_count()


def in_turn(results: Iterable[Computed], ahead: int = 2) -> Iterator[Computed]:
    """Each result once it is there, while the devices go on with the next ones.

    So they are never idle, and never so far behind the host that what it sends them fills their memory.

    Args:
        results: of programs, which are started one after the other as they are asked for.
        ahead: how many more are started before one is waited for.
    """
    started: deque[Computed] = deque()
    for result in results:
        started.append(result)
        if len(started) > ahead:
            yield jax.block_until_ready(started.popleft())
    yield from map(jax.block_until_ready, started)


def replicate(tree: PyTree) -> PyTree:
    """The tree on every device of this process, so that no program moves it again or compiles for it twice."""
    return jax.device_put(tree, NamedSharding(mesh(), PartitionSpec()))
