"""Batches of grey slices on the devices: shuffled for training, in order and filled up for everything else.

The slices are in the devices' memory as a whole where they fit; otherwise batches are read from the mapped file, ahead
of their use. Either way they are only handed on here: what is random about them, and their normalisation, is part of
the programs that use them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float32, Float64, Int, UInt16

from hemojax import devices
from hemojax.batches import in_batches
from hemojax.data import grey, hounsfield, records

THREADS, READ_AHEAD = 4, 8  # threads that read batches from the file, and batches that wait

Rows = Int[np.ndarray, "*rows"]
Weights = Float64[np.ndarray, " slices"]


class Batch(NamedTuple):
    """Training slices, with a leading axis of this process's devices.

    Attributes:
        levels: see `grey.from_levels`; not yet augmented.
        labels: 0 or 1, of the config's labels.
        record: each slice's number in the split; of a slice that an epoch draws again, with as many times the number of
            slices added, so that its random changes are others.
    """

    levels: UInt16[Array, "d b s s w"]
    labels: Float32[Array, "d b l"]
    record: Int[Array, "d b"]


class Reader:
    """Levels of grey slices by their places in the file (see `grey.places`), on this process's devices.

    Args:
        folder: the records.
        share: of each device's memory that the slices may take.
        memory: bytes of a device; default: what it says. A CPU says nothing: its memory is that of the file's pages,
            and nothing is gained by holding them twice.
    """

    def __init__(self, folder: Path, share: float, memory: int | None = None):
        self.folder = folder
        self._file = grey.open_file(folder)
        self._mesh = devices.mesh()
        memory = devices.memory() if memory is None else memory
        self.on_device = self._file.nbytes <= share * memory

    @cached_property
    def _resident(self) -> Array:
        return jax.device_put(np.asarray(self._file), NamedSharding(self._mesh, PartitionSpec()))

    @cached_property
    def divided(self) -> NamedSharding:
        """Over the devices along the first axis."""
        return NamedSharding(self._mesh, PartitionSpec(devices.AXIS))

    @cached_property
    def _take(self) -> Callable[[Array, Rows], Array]:
        return jax.jit(partial(jnp.take, axis=0, mode="clip"), out_shardings=self.divided)

    def __call__(self, places: Rows) -> UInt16[Array, "*rows s s w"]:
        """The slices at these places, divided over the devices along the first axis, a multiple of their number."""
        return self.place(self.read(places))

    def read(self, places: Rows) -> np.ndarray:
        """What has to be brought to the devices: the places themselves, or the slices, read from the disk."""
        return places if self.on_device else np.take(self._file, places, axis=0)

    def place(self, read: np.ndarray) -> UInt16[Array, "*rows s s w"]:
        """The slices, on the devices, of what was `read`."""
        return self._take(self._resident, read) if self.on_device else jax.device_put(read, self.divided)


class _TrainingRows:
    """`Batch.record` of every training batch of this process, by the batch's number, from 0 on.

    Every epoch is drawn and shuffled anew, and every process has its own share of it.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int, stop: int, weights: Weights | None):
        self._slices, self._batch_size, self._seed, self._stop = _number(folder), batch_size, seed, stop
        self._weights, self._per_epoch = weights, batches_an_epoch(folder, batch_size)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> Rows:
        rng = np.random.default_rng((self._seed, epoch))
        drawn = np.arange(self._slices) if self._weights is None else drawn_by_weight(self._weights, rng)
        return rng.permutation(drawn)[jax.process_index() :: jax.process_count()]

    def __len__(self) -> int:
        return self._stop

    def __getitem__(self, number: int) -> Rows:
        epoch, place = divmod(number, self._per_epoch)
        return self._order(epoch)[place * self._batch_size : (place + 1) * self._batch_size].reshape(
            jax.local_device_count(), -1
        )


def drawn_by_weight(weights: Weights, rng: np.random.Generator) -> Rows:
    """As many numbers as there are weights, each as often as its weight says (see `Batch.record`).

    Systematic resampling (Kitagawa 1996): a number is drawn the whole part of its expected times, or once more.

    Args:
        weights: not negative; their sum is above 0.
        rng: one uniform number is drawn.
    """
    number = len(weights)
    edges = np.cumsum(weights, dtype=np.float64)
    chosen = np.searchsorted(edges, (rng.random() + np.arange(number)) * (edges[-1] / number), side="right")
    chosen = np.minimum(chosen, number - 1)
    return chosen + number * (np.arange(number) - np.searchsorted(chosen, chosen))


def train_batches(
    reader: Reader,
    *,
    labels: Sequence[str],
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    weights: Weights | None = None,
) -> Iterator[Batch]:
    """Training batches from number `start` up to `stop`, the same ones whenever the run is started again.

    Args:
        reader: of the grey slices.
        labels: the config's.
        batch_size: slices a batch and process, a multiple of its devices.
        seed: of the order.
        start: number of the first batch (0 at the start of training).
        stop: number of the batch after the last.
        weights: how often each slice is drawn, in relation to the others; default: each once an epoch.
    """
    truth = records.read_index(reader.folder, "train")[list(labels)].to_numpy(np.float32)
    first = grey.first_places(reader.folder)["train"]

    def read(record: Rows) -> tuple[Rows, np.ndarray]:
        return record, reader.read(first + record % len(truth))

    dataset = grain.MapDataset.source(_TrainingRows(reader.folder, batch_size, seed, stop, weights)).map(read)
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=READ_AHEAD)
    for record, found in dataset.slice(slice(start, stop)).to_iter_dataset(options):
        known = truth[record % len(truth)], record.astype(np.int32)
        yield Batch(reader.place(found), *jax.device_put(known, reader.divided))


def batches_an_epoch(folder: Path, batch_size: int) -> int:
    """Whole training batches of this size that one process draws in an epoch."""
    return _number(folder) // jax.process_count() // batch_size


def input_batches(
    reader: Reader, places: Rows, *, normalisation: str, batch_size: int
) -> Iterator[tuple[Float32[Array, "b s s c"], int]]:
    """The network's inputs for these places, in order, in batches of one size, and how many of each batch count.

    The last batch is filled up with copies of its first slice.

    Args:
        reader: of the grey slices.
        places: see `grey.places`.
        normalisation: see `hounsfield.normalise`.
        batch_size: a multiple of the number of devices (see `devices.whole_batch`).
    """
    parts = list(in_batches(len(places), batch_size))

    def read(part: tuple[Rows, int]) -> tuple[np.ndarray, int]:
        rows, real = part
        return reader.read(places[rows]), real

    dataset = grain.MapDataset.source(parts).map(read)
    for found, real in dataset.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=READ_AHEAD)):
        yield _normalised(reader.place(found), normalisation), real


@partial(jax.jit, static_argnums=1)
def _normalised(levels: UInt16[Array, "b s s w"], kind: str) -> Float32[Array, "b s s c"]:
    return hounsfield.normalise(grey.from_levels(levels), kind)


def _number(folder: Path) -> int:
    """How many training slices there are."""
    return len(records.read_index(folder, "train"))
