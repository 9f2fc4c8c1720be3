"""Batches from records, with grain: shuffled and augmented for training; ordered, padded and masked for evaluation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import Bool, Float32, Int16, Int32
from ml_collections import ConfigDict

from hemojax.data import augmentation, hounsfield, records
from hemojax.data.case import LABELS

THREADS = 4

Batch = dict[str, np.ndarray]


def network_input(hu: np.ndarray, data: ConfigDict) -> Float32[np.ndarray, "s s c"]:
    """A slice in HU as grey values in [0, 1] of `data.size` pixels, as the config's windows say."""
    return hounsfield.grey(hu, data.size, data.windows, data.per_slice_minmax)


def label_columns(labels: Sequence[str]) -> list[int]:
    """Columns of these labels in a record's label array."""
    return [LABELS.index(label) for label in labels]


def train_batches(folder: Path, data: ConfigDict, batch_size: int, seed: int, start: int, stop: int) -> Iterator[Batch]:
    """Training batches from number `start` up to `stop`, the same ones whenever the run is started again.

    Every epoch is shuffled anew; each process of a run with several hosts gets its own slices.

    Args:
        folder: the records.
        data: the config's data section.
        batch_size: slices a batch and process.
        seed: of the order and the augmentation.
        start: number of the first batch (0 at the start of training).
        stop: number of the batch after the last.

    Yields:
        image Float32[b s s c], normalised; labels Float32[b l].
    """
    columns = label_columns(data.labels)

    def decode(record: dict[str, Any], rng: np.random.Generator) -> Batch:
        image = augmentation.augment(network_input(record["hu"], data), rng, data.augmentation)
        return {
            "image": hounsfield.normalise(image, data.normalisation),
            "labels": record["labels"][columns].astype(np.float32),
        }

    dataset = (
        grain.MapDataset.source(records.data_source(folder, "train"))
        .seed(seed)
        .shuffle()
        .slice(slice(jax.process_index(), None, jax.process_count()))
    )
    per_epoch = len(dataset) // batch_size
    # Whole batches of each epoch, so that batch n is the same in whatever run it is asked for.
    dataset = (
        dataset.slice(slice(0, per_epoch * batch_size))
        .repeat()
        .random_map(decode)
        .batch(batch_size, drop_remainder=True)
    )
    wanted = dataset.slice(slice(start, stop))
    yield from wanted.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=8))


def batches_an_epoch(folder: Path, batch_size: int) -> int:
    """Whole training batches of this size that one process draws in an epoch."""
    slices = len(records.read_index(folder, "train"))
    return slices // jax.process_count() // batch_size


def evaluation_batches(
    folder: Path, split: str, rows: Int32[np.ndarray, " n"], data: ConfigDict, batch_size: int
) -> Iterator[Batch]:
    """The named records in order, in batches of one size; the last one is padded with copies of its first slice.

    Yields:
        image Float32[b s s c], normalised; labels Int8[b 6] (LABELS); record Int32[b], the place in the split; valid
        Bool[b], False for padding.
    """
    source = records.data_source(folder, split)

    def decode(row: np.int32) -> Batch:
        record = source[int(row)]
        image = hounsfield.normalise(network_input(record["hu"], data), data.normalisation)
        return {"image": image, "labels": record["labels"], "record": np.int32(row)}

    dataset = grain.MapDataset.source(rows).map(decode).batch(batch_size)
    for batch in dataset.to_iter_dataset(grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=8)):
        yield pad(batch, batch_size)


def pad(batch: Batch, batch_size: int) -> Batch:
    """Repeat the batch's first slice up to `batch_size`, and say in `valid` which slices are real."""
    n = len(batch["record"])
    filled = {k: np.concatenate([v, np.repeat(v[:1], batch_size - n, axis=0)]) for k, v in batch.items()}
    return filled | {"valid": np.arange(batch_size) < n}


def resize_hu(hu: Int16[np.ndarray, "h w"], size: int) -> Float32[np.ndarray, "s s"]:
    """The slice in HU on a square grid of `size` pixels, bilinear; what pads it to a square has its lowest value."""
    return hounsfield.resize(hounsfield.pad_square(hu, hu.min()).astype(np.float32), size)


def resize_mask(mask: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "s s"]:
    """The mask on a square grid of `size` pixels: each takes the value of the pixel under its centre."""
    square = hounsfield.pad_square(mask, 0.0)
    at = ((np.arange(size) + 0.5) * (len(square) / size)).astype(int)
    return square[np.ix_(at, at)].astype(bool)
