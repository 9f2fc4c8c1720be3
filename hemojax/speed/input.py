"""How many slices a second reach the devices, and for what share of an epoch the devices wait for them."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.profiler import ProfileData
from ml_collections import ConfigDict
from scipy import ndimage

from hemojax import devices, models
from hemojax.data import grey, loader, records
from hemojax.data.case import Case
from hemojax.data.listing import of_cases
from hemojax.training import loop, state, step

SIDE, SLICES, SCAN = 512, 512, 32  # pixels of a side; training slices; slices of a scan
EPOCHS = 2  # of which the second is traced
SECONDS = 2.0  # that a rate is measured for, at least

Row = dict[str, Any]


def rows(config: ConfigDict, network: str) -> Iterator[Row]:
    """Figures of each part of the way from the records to a training step, and of both together.

    Made once: decoding, windowing and resizing (what every epoch needs where nothing is kept). In every epoch: batches
    from the mapped file, and from the devices' memory; their augmentation; and an epoch of training, from whichever of
    the two the device's memory allows.

    Args:
        config: `data`, `train` and `model` of the run; the data are noise of SIDE pixels.
        network: a key of `models.MODELS`.
    """
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "records"
        records.prepare(folder, of_cases(_cases()), dict.fromkeys(("train", "validation", "test"), 1.0), {})
        clock = Clock()
        grey.prepare(folder, config.data)
        yield clock.row("decoded, windowed and resized, once", len(grey.open_file(folder)))
        for name, memory in (("batches from the mapped file", 0), ("batches from the device's memory", 2**50)):
            reader = loader.Reader(folder, config.data.device_share, memory)
            yield _measured(name, partial(_draw, config, reader))
        yield _measured("augmented and normalised", _augmentation(config, folder))
        yield _epoch(config, loader.Reader(folder, config.data.device_share), network)


def waiting_share(trace: Path) -> float:
    """Share of a trace in which no program ran on the device, from its first operation to its last.

    Args:
        trace: the folder that `jax.profiler.trace` wrote.

    Raises:
        ValueError: no device ran anything.
    """
    (path,) = trace.glob("**/*.xplane.pb")
    spans = sorted(_spans(ProfileData.from_file(str(path))))
    if not spans:
        raise ValueError(f"{path}: no operation of a device")
    busy, (first, until) = 0.0, (spans[0][0], spans[0][0])
    for begun, ended in spans:
        busy += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return 1 - busy / (until - first)


def _spans(profile: ProfileData) -> Iterator[tuple[float, float]]:
    """Begin and end of each operation, in ns: a GPU's kernels, a TPU's operations, what a CPU's threads of XLA do."""
    on_device = [plane for plane in profile.planes if plane.name.startswith("/device:")]
    for plane in on_device or profile.planes:
        for line in plane.lines:
            if line.name.startswith(("Stream", "XLA Ops", "tf_XLA")):
                for event in line.events:
                    if event.duration_ns > 0 and not event.name.startswith("Memcpy"):
                        yield event.start_ns, event.start_ns + event.duration_ns


def _cases() -> Iterator[Case]:
    """Scans of smooth noise; those for training hold SLICES slices together."""
    rng = np.random.default_rng(0)
    volume = 200 * ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE, SCAN), np.float32), (4, 4, 0))
    labels = np.zeros((SCAN, 6), np.int8)
    labels[::2] = 1
    for n, split in enumerate(["train"] * (SLICES // SCAN) + ["validation", "test"]):
        yield Case(
            name=f"{split}{n}",
            patient=f"{split}{n}",
            split=split,
            hu=np.roll(volume, n, axis=0).astype(np.int16),
            mask=np.zeros(volume.shape, np.uint16),
            labels=labels,
            slices=np.arange(SCAN),
            axes="LPS",
            spacing=(0.5, 0.5, 5.0),
        )


class Clock:
    """Seconds since it was made: of the clock on the wall, and of all cores of this process together."""

    def __init__(self) -> None:
        self._begun, self._cores = time.perf_counter(), time.process_time()

    def row(self, what: str, slices: int) -> Row:
        """The rates at which so many slices were worked on; that of a core counts the seconds that cores worked."""
        seconds, of_cores = time.perf_counter() - self._begun, time.process_time() - self._cores
        return {
            "what": what,
            "slices": slices,
            "seconds": seconds,
            "slices/s": slices / seconds,
            "slices/s a core": slices / of_cores,
        }


def _measured(what: str, work: Callable[[int], int]) -> Row:
    """Of work, given how much of it, that goes on for SECONDS at least; a first, shorter run does not count."""
    number = 1
    work(number)
    while True:
        clock = Clock()
        slices = work(number)
        row = clock.row(what, slices)
        if row["seconds"] > SECONDS:
            return row
        number *= 2


def _draw(config: ConfigDict, reader: loader.Reader, epochs: int) -> int:
    """Draws the batches of some epochs, each waited for in turn."""
    batch = config.train.batch
    stop = epochs * loader.batches_an_epoch(reader.folder, batch)
    drawn = loader.train_batches(
        reader, labels=config.data.labels, batch_size=batch, seed=config.seed, start=0, stop=stop
    )
    return sum(found.record.size for found in devices.in_turn(drawn))


def _augmentation(config: ConfigDict, folder: Path) -> Callable[[int], int]:
    batch = config.train.batch
    levels = jax.device_put(np.asarray(grey.open_file(folder)[:batch]))
    record, inputs = jnp.arange(batch), jax.jit(loop.training_inputs(config, per_epoch=1))

    def work(number: int) -> int:
        for _ in devices.in_turn(inputs(levels, record, jnp.int32(n)) for n in range(8 * number)):
            pass
        return 8 * number * batch

    return work


def _epoch(config: ConfigDict, reader: loader.Reader, network: str) -> Row:
    """An epoch of training steps, after one that compiles."""
    batch = config.train.batch
    per_epoch = loader.batches_an_epoch(reader.folder, batch)
    make = partial(models.create, network, len(config.data.labels), dtype=jnp.dtype(config.model.dtype))
    optimiser = state.optimizer(config.train, EPOCHS * per_epoch)
    channels = grey.channels(config.data)
    variables = state.initialise(make(), config.data.size, channels, jax.random.key(0))
    current = devices.replicate(state.create(variables, optimiser))
    weights, inputs = jnp.ones(len(config.data.labels)), loop.training_inputs(config, per_epoch)
    run = step.build(
        make(axis_name=devices.AXIS), optimiser, positive_weight=weights, key=jax.random.key(0), inputs=inputs
    )
    stop = EPOCHS * per_epoch
    batches = loader.train_batches(
        reader, labels=config.data.labels, batch_size=batch, seed=config.seed, start=0, stop=stop
    )

    def steps() -> Iterator[step.Metrics]:
        nonlocal current
        for found in itertools.islice(batches, per_epoch):
            current, metrics = run(current, found)
            yield metrics

    list(devices.in_turn(steps()))
    where = "device's memory" if reader.on_device else "mapped file"
    with tempfile.TemporaryDirectory() as trace:
        with jax.profiler.trace(trace):
            clock = Clock()
            list(devices.in_turn(steps()))
            row = clock.row(f"an epoch of {network}, batch {batch}, from the {where}", per_epoch * batch)
        waited = waiting_share(Path(trace))
    return row | {"waiting": waited}
