"""What is timed beside what, and the rows of each table that come of it."""

import importlib.util
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from hemojax import devices, models
from hemojax.errors import check_name
from hemojax.speed import cam_operations, cams, input, metrics, networks
from hemojax.speed.timer import Contender, Timing, contest

OURS = "hemojax"
PEERS = {
    "PyTorch channels_last": {"channels_last": True, "huge_pages": False},
    "PyTorch channels_last, huge pages": {"channels_last": True, "huge_pages": True},
    "PyTorch default": {"channels_last": False, "huge_pages": False},
}
"""In its two layouts as it comes, and, on a CPU, in the better one with the huge pages that hemojax asks for."""
WITHOUT_DEVICE = {"JAX_PLATFORMS": "cpu"}
"""For the peers' processes, which import what they share with hemojax: its JAX leaves the GPU to them."""


class Rates(NamedTuple):
    """What the machine can do.

    Attributes:
        gflops: of a large matrix product, in the dtype at hand.
        gbytes: a second, read and written by a sum of a large array and a number.
    """

    gflops: float
    gbytes: float


class Sizes(NamedTuple):
    """Of what is timed, such that starting it does not count.

    Attributes:
        matmul: side of the matrices.
        copy: bytes of the array.
        repeats: of a layer, before the device is waited for.
    """

    matmul: int
    copy: int
    repeats: int


CPU, ACCELERATOR = Sizes(2048, 2**28, 1), Sizes(8192, 2**30, 20)

Row = dict[str, Any]


def sizes() -> Sizes:
    """Of this process's devices."""
    return CPU if devices.platform() == "cpu" else ACCELERATOR


def measured_rates(dtype: str) -> Rates:
    """The best of five rounds, in a process of its own."""
    side, size = sizes().matmul, sizes().copy
    timings = contest(
        [
            Contender("matmul", "hemojax.speed.networks:matmul", {"size": side, "dtype": dtype}),
            Contender("copy", "hemojax.speed.networks:copy", {"size": size}),
        ],
        5,
    )
    matmul, copy = (float(timings[name].seconds.min()) for name in ("matmul", "copy"))
    return Rates(2 * side**3 / matmul / 1e9, 2 * size / copy / 1e9)


def _network_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a workload and contender."""
    options = config.speed
    flop = networks.flop(network, options.size)
    for workload in options.workloads:  # one at a time: together they hold more memory than many machines have
        shared = {"name": network, "workload": workload, "batch": options.batch, "size": options.size}
        # The slower layout is asked about where it is cheap: all contenders hold their memory at the same time.
        peers = [name for name, peer in PEERS.items() if peer["channels_last"] or workload == "forward"]
        timings = contest(list(_contenders(dtype, "network", shared, peers)), options.rounds)
        for name, timing in timings.items():
            figures = _figures(timings, name, 0)
            if workload == "forward":
                figures["of peak"] = options.batch * flop / figures["seconds"] / 1e9 / rates.gflops
            yield (
                {"network": network, "workload": workload, "dtype": dtype, "contender": name}
                | figures
                | {
                    "images/s": options.batch / figures["seconds"],
                    "prepared s": timing.prepare_seconds,
                    "peak MiB": timing.peak_mib,
                    "settings": timing.settings or _own_settings(dtype),
                }
            )


def _layer_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a layer: hemojax's milliseconds and share of the peak, and the ratio of each peer."""
    options = config.speed
    found = networks.layers(network, options.size)
    repeats = sizes().repeats
    shared = {"layers": list(found), "batch": options.batch, "repeats": repeats}
    timings = contest(list(_contenders(dtype, "layer_forwards", shared)), options.rounds)
    for part, (layer, times) in enumerate(found.items()):
        seconds = _figures(timings, OURS, part)["seconds"] / repeats
        yield {
            "network": network,
            "dtype": dtype,
            "layer": layer.name,
            "times": times,
            "ms": 1000 * seconds,
            "of peak": options.batch * layer.flop / seconds / 1e9 / rates.gflops,
            "GB/s": layer.bytes(options.batch, dtype) / seconds / 1e9,
        } | {f"ratio {name}": _figures(timings, name, part)["ratio"] for name in timings if name != OURS}


def _form_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a layer that may take several forms: the chosen one's milliseconds and GB/s, and the ratio of each other.

    Each with the batch norm and the activation that follow, into which a form may or may not be fused.
    """
    options, repeats = config.speed, sizes().repeats
    found = networks.layers(network, options.size)
    for names in dict.fromkeys(filter(None, map(networks.forms, found))):
        layers = [layer for layer in found if networks.forms(layer) == names]
        shared = {"layers": layers, "batch": options.batch, "repeats": repeats, "dtype": dtype}
        prepare = "hemojax.speed.networks:form_forwards"
        ways = [Contender(OURS, prepare, shared | {"form": ""})]
        ways += [Contender(name, prepare, shared | {"form": name}) for name in names]
        timings = contest(ways, options.rounds)
        for part, layer in enumerate(layers):
            seconds = _figures(timings, OURS, part)["seconds"] / repeats
            yield {
                "network": network,
                "dtype": dtype,
                "layer": layer.name,
                "times": found[layer],
                "ms": 1000 * seconds,
                "GB/s": layer.bytes(options.batch, dtype) / seconds / 1e9,
            } | {f"ratio {name}": _figures(timings, name, part)["ratio"] for name in names}


def _cam_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a request and contender.

    Beside the ratio: what of it is fewer operations, and what is faster ones; the share of the peak; and the largest
    difference between two values of maps, out of [0, 1], of the methods that both define alike.
    """
    options = config.speed
    chunk = config.cam.chunk
    requests = cams.requests(models.create(network, 1), options.cam_batch)
    for name in options.requests:
        check_name(name, tuple(requests), "speed.requests")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        cams.make_weights(weights, network)
        for number, (title, request) in enumerate(requests.items()):
            if options.requests and title not in options.requests:
                continue
            shared = {"name": network, "size": options.size, "weights": weights, "dtype": dtype}
            maps = {OURS: Path(folder) / f"{number}.npz"}
            work = {OURS: cam_operations.ours(network, request, options.size)}
            ours = shared | {"request": request, "maps": maps[OURS], "chunk": chunk}
            contenders = [Contender(OURS, "hemojax.speed.cams:cams", ours)]
            for library, best in itertools.product(cams.LIBRARIES, (True, False)):
                if not set(request.methods) <= cams.LIBRARIES[library].keys():
                    continue
                if importlib.util.find_spec(cams.PACKAGES[library]) is None:
                    continue
                name = f"{library}, {'best settings' if best else 'default'}"
                maps[name] = Path(folder) / f"{number} {name}.npz"
                work[name] = cam_operations.theirs(network, request, options.size, library, best)
                theirs = shared | {"request": request, "maps": maps[name], "library": library, "best": best}
                theirs |= {"platform": devices.platform()}
                contenders.append(Contender(name, "hemojax.speed.cams_torch:cams", theirs, False, WITHOUT_DEVICE))
            timings = contest(contenders, options.rounds, warm=False)  # a peer takes minutes
            for name in timings:
                figures = _figures(timings, name, 0)
                yield {
                    "network": network,
                    "dtype": dtype,
                    "maps": title,
                    "batch": request.batch,
                    "contender": name,
                    **figures,
                    "fewer operations": work[name] / work[OURS],
                    "faster ones": figures["ratio"] * work[OURS] / work[name],
                    "of peak": work[name] / figures["seconds"] / 1e9 / rates.gflops,
                    "difference": _difference(maps[OURS], maps[name]),
                    "ms an image": 1000 * figures["seconds"] / request.batch,
                    "prepared s": timings[name].prepare_seconds,
                    "peak MiB": timings[name].peak_mib,
                    "settings": timings[name].settings or _own_settings(dtype),
                }


def _difference(ours: Path, theirs: Path) -> float | None:
    """Over the maps that both made; a library leaves out of its file what it defines otherwise."""
    with np.load(ours) as mine, np.load(theirs) as other:
        return max((float(np.abs(mine[cell] - other[cell]).max()) for cell in other), default=None)


def _metric_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a task, number of slices and contender; twice the slices show that memory does not grow with them."""
    options = config.speed
    for (task, contenders), times in itertools.product(metrics.TASKS.items(), (1, 2)):
        slices = times * max(1, round(metrics.SHARE[task] * options.slices))
        shared = {"task": task, "slices": slices, "size": options.map_size}
        ways = [Contender(w, "hemojax.speed.metrics:parts", shared | {"contender": w}) for w in contenders]
        timings = contest(ways, options.rounds, warm=False)  # a part takes seconds
        for name in timings:
            figures = _figures(timings, name, 0)
            maps = slices * metrics.MAPS[task]
            yield {
                "metric": task,
                "slices": slices,
                "maps": maps,
                "contender": name,
                **figures,
                "ms a map": 1000 * figures["seconds"] / maps,
                "peak MiB": timings[name].peak_mib,
            }


def _input_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a part of the way of the slices, and one of an epoch of training."""
    options, config = config.speed, config.copy_and_resolve_references()
    config.data.size, config.train.batch, config.model.dtype = options.size, options.batch, dtype
    yield from input.rows(config, network)


KINDS = {
    "networks": _network_rows,
    "layers": _layer_rows,
    "forms": _form_rows,
    "cams": _cam_rows,
    "metrics": _metric_rows,
    "input": _input_rows,
}


def _contenders(
    dtype: str, function: str, options: dict[str, Any], peers: Sequence[str] = tuple(PEERS)
) -> Iterator[Contender]:
    """Hemojax, and PyTorch where it is installed."""
    options = options | {"dtype": dtype}
    yield Contender(OURS, f"hemojax.speed.networks:{function}", options)
    if importlib.util.find_spec("torch") is not None:
        platform = devices.platform()
        for name in peers:
            huge_pages = bool(PEERS[name]["huge_pages"])
            if huge_pages and platform != "cpu":
                continue
            theirs = options | {"channels_last": PEERS[name]["channels_last"], "platform": platform}
            yield Contender(name, f"hemojax.speed.networks_torch:{function}", theirs, huge_pages, WITHOUT_DEVICE)


def _own_settings(dtype: str) -> str:
    kind = jax.devices()[0].device_kind
    return f"{'CPU' if devices.platform() == 'cpu' else kind}, {dtype}"


def _figures(timings: dict[str, Timing], name: str, part: int) -> dict[str, float]:
    """Median seconds of a part, and the time over hemojax's, round by round."""
    seconds = timings[name].seconds[:, part]
    ratio = seconds / timings[OURS].seconds[:, part]
    return {
        "seconds": float(np.median(seconds)),
        "ratio": float(np.median(ratio)),
        "lowest": float(ratio.min()),
        "highest": float(ratio.max()),
    }
