"""How fast hemojax is beside PyTorch, as anybody can measure it again: `python main.py --config=configs/speed.py`."""

import importlib.util
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from hemojax import devices, models
from hemojax.benchmark import cam_work, cam_workloads, input_work, metric_work, workloads
from hemojax.benchmark.contest import SHARED, Contender, Timing, contest, environment
from hemojax.cam.method import check_name
from hemojax.errors import UserError
from hemojax.models import MODELS
from hemojax.progress import Progress, say
from hemojax.reporting import speed_figure, tables
from hemojax.reporting.figures import write_figure
from hemojax.reporting.summary import markdown_table

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


def speed(config: ConfigDict, workdir: Path) -> None:
    """Time networks, layers or forms of convolutions, maps against other libraries, metrics, or the input.

    Writes `<workdir>/results/speed-<what>.json` and `.md`, and of cams a picture, `speed-cams.png`. Where PyTorch is
    not installed, hemojax is timed alone.

    Raises:
        UserError: a name is unknown, or the batch does not divide over the devices.
    """
    options = config.speed
    check_name(options.what, tuple(KINDS), "speed.what")
    for name in options.networks:
        check_name(name, tuple(MODELS), "network")
    for name in options.workloads:
        check_name(name, workloads.WORKLOADS, "workload")
    for name in options.dtypes:
        check_name(name, ("float32", "bfloat16"), "speed.dtypes")
    with environment(SHARED):  # JAX takes its memory when it first meets the devices
        number = jax.local_device_count()
    if options.batch % number:
        raise UserError(f"--config.speed.batch={options.batch} is not a multiple of {number} devices")
    machine = f"{number} x {jax.devices()[0].device_kind}, {os.cpu_count()} cores"
    rates = {dtype: measured_rates(dtype) for dtype in options.dtypes}
    work = f"Batch {options.batch}, {options.size} px"
    subjects = list(itertools.product(options.networks, options.dtypes))
    if options.what == "metrics":
        work = f"Maps of {options.map_size} px, {len(metric_work.THRESHOLDS)} thresholds"
        subjects = [("metrics", options.dtypes[0])]
    products = ", ".join(f"{rate.gflops:.0f} GFLOP/s in {dtype}" for dtype, rate in rates.items())
    heading = (
        f"{work}, {options.rounds} rounds, {machine}, matrix product {products}, "
        f"memory {max(rate.gbytes for rate in rates.values()):.0f} GB/s. "
        "ratio: a contender's time over hemojax's in the same round: median, lowest, highest.\n\n"
    )
    home = workdir / "results"
    rows: list[Row] = []
    text = ""
    with Progress(f"speed: {options.what}", len(subjects)) as progress:
        for network, dtype in subjects:
            for row in KINDS[options.what](config, network, dtype, rates[dtype]):
                rows.append(row)  # and written at once: a contest takes minutes
                text = heading + markdown_table(
                    pd.DataFrame([{k: _text(v) for k, v in r.items()} for r in rows]).fillna("")
                )
                found = {
                    "rows": rows,
                    "rates": {name: rate._asdict() for name, rate in rates.items()},
                    "machine": machine,
                }
                tables.write_json(home / f"speed-{options.what}.json", found)
                tables.write_text(home / f"speed-{options.what}.md", text + "\n")
                if options.what == "cams" and len({row["contender"] for row in rows}) > 1:
                    write_figure(home / "speed-cams.png", speed_figure.ratios(pd.DataFrame(rows), OURS))
            progress.advance(network)
    say(text)


def sizes() -> Sizes:
    """Of this process's devices."""
    return CPU if devices.platform() == "cpu" else ACCELERATOR


def measured_rates(dtype: str) -> Rates:
    """The best of five rounds, in a process of its own."""
    side, size = sizes().matmul, sizes().copy
    timings = contest(
        [
            Contender("matmul", "hemojax.benchmark.workloads:matmul", {"size": side, "dtype": dtype}),
            Contender("copy", "hemojax.benchmark.workloads:copy", {"size": size}),
        ],
        5,
    )
    matmul, copy = (float(timings[name].seconds.min()) for name in ("matmul", "copy"))
    return Rates(2 * side**3 / matmul / 1e9, 2 * size / copy / 1e9)


def _network_rows(config: ConfigDict, network: str, dtype: str, rates: Rates) -> Iterator[Row]:
    """A row a workload and contender."""
    options = config.speed
    flop = workloads.flop(network, options.size)
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
    found = workloads.layers(network, options.size)
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
    found = workloads.layers(network, options.size)
    for names in dict.fromkeys(filter(None, map(workloads.forms, found))):
        layers = [layer for layer in found if workloads.forms(layer) == names]
        shared = {"layers": layers, "batch": options.batch, "repeats": repeats, "dtype": dtype}
        prepare = "hemojax.benchmark.workloads:form_forwards"
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
    requests = cam_workloads.requests(models.create(network, 1), options.cam_batch)
    for name in options.requests:
        check_name(name, tuple(requests), "speed.requests")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        cam_workloads.make_weights(weights, network)
        for number, (title, request) in enumerate(requests.items()):
            if options.requests and title not in options.requests:
                continue
            shared = {"name": network, "size": options.size, "weights": weights, "dtype": dtype}
            maps = {OURS: Path(folder) / f"{number}.npz"}
            work = {OURS: cam_work.ours(network, request, options.size)}
            ours = shared | {"request": request, "maps": maps[OURS], "chunk": chunk}
            contenders = [Contender(OURS, "hemojax.benchmark.cam_workloads:cams", ours)]
            for library, best in itertools.product(cam_workloads.LIBRARIES, (True, False)):
                if not set(request.methods) <= cam_workloads.LIBRARIES[library].keys():
                    continue
                if importlib.util.find_spec(cam_workloads.PACKAGES[library]) is None:
                    continue
                name = f"{library}, {'best settings' if best else 'default'}"
                maps[name] = Path(folder) / f"{number} {name}.npz"
                work[name] = cam_work.theirs(network, request, options.size, library, best)
                theirs = shared | {"request": request, "maps": maps[name], "library": library, "best": best}
                theirs |= {"platform": devices.platform()}
                contenders.append(Contender(name, "hemojax.benchmark.cam_peers:cams", theirs, False, WITHOUT_DEVICE))
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
    for (task, contenders), times in itertools.product(metric_work.TASKS.items(), (1, 2)):
        slices = times * max(1, round(metric_work.SHARE[task] * options.slices))
        shared = {"task": task, "slices": slices, "size": options.map_size}
        ways = [Contender(w, "hemojax.benchmark.metric_work:parts", shared | {"contender": w}) for w in contenders]
        timings = contest(ways, options.rounds, warm=False)  # a part takes seconds
        for name in timings:
            figures = _figures(timings, name, 0)
            maps = slices * metric_work.MAPS[task]
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
    yield from input_work.rows(config, network)


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
    yield Contender(OURS, f"hemojax.benchmark.workloads:{function}", options)
    if importlib.util.find_spec("torch") is not None:
        platform = devices.platform()
        for name in peers:
            huge_pages = bool(PEERS[name]["huge_pages"])
            if huge_pages and platform != "cpu":
                continue
            theirs = options | {"channels_last": PEERS[name]["channels_last"], "platform": platform}
            yield Contender(name, f"hemojax.benchmark.peers:{function}", theirs, huge_pages, WITHOUT_DEVICE)


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


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
