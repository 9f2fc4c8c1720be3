"""From heat maps to the table of counts, vectorised: pixels at every threshold, boxes at the thresholds that matter."""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, UInt8
from ml_collections import ConfigDict

from hemojax.benchmark import baselines, explanations
from hemojax.benchmark.explanations import MapBatch
from hemojax.cam import postprocess
from hemojax.data import loader, records
from hemojax.metrics import boxes, overlap, relevance, statistics
from hemojax.progress import Progress

FIXED = np.float32(0.5)


class Truth(NamedTuple):
    """What slices are scored against, on the square grid of `eval.size` pixels.

    Attributes:
        hu: as shown to the baselines, in HU.
        masks: one for each mask target, in the config's order.
    """

    hu: Float[np.ndarray, "s s"]
    masks: Bool[np.ndarray, "m s s"]


class Slices:
    """The truth of single slices, read from the records when asked for.

    Args:
        config: the run's config.
        folder: the records.
    """

    def __init__(self, config: ConfigDict, folder: Path):
        self._size, self._masks = config.eval.size, [tuple(values) for values in config.data.masks.values()]
        self._source = functools.cache(lambda split: records.data_source(folder, split))

    def __call__(self, split: str, record: int) -> Truth:
        """HU and masks of one record."""
        slice_ = self._source(split)[record]
        masks = [loader.resize_mask(np.isin(slice_["mask"], values), self._size) for values in self._masks]
        return Truth(loader.resize_hu(slice_["hu"], self._size), np.stack(masks))


def count(config: ConfigDict, folder: Path, slices: pd.DataFrame, workdir: Path) -> pd.DataFrame:
    """The counts table of all maps of a run and of the baselines that need no network.

    Two passes over the maps: pixel counts at every threshold; then, with the thresholds selected on validation, boxes
    at these and at 0.5.

    Args:
        config: the run's config.
        folder: the records.
        slices: the explained slices, see `explanations.lesion_slices`.
        workdir: where `maps/` lies.
    """
    truth = Slices(config, folder)
    average = _mean_training_mask(config, folder, truth)
    jobs = explanations.jobs(config.cam, slices)
    total = len(slices) + sum(len(job.slices) * len(job.stages) for job in jobs)

    def maps() -> Iterator[tuple[MapBatch, Bool[np.ndarray, "b m s s"]]]:
        cams = explanations.read(config, slices, workdir)
        for batch in itertools.chain(_baseline_maps(config, slices, truth, average), cams):
            pairs = zip(batch.rows["split"], batch.rows["record"], strict=True)
            yield batch, np.stack([truth(split, record).masks for split, record in pairs])

    with Progress("scoring: pixels", total) as progress:
        parts = []
        for batch, masks in maps():
            parts.append(_pixel_rows(config, batch, masks))
            progress.advance(steps=len(batch.rows))
    counts = pd.concat(parts, ignore_index=True)
    chosen = statistics.select_thresholds(counts)
    with Progress("scoring: boxes", total) as progress:
        parts = []
        for batch, masks in maps():
            parts.append(_box_rows(config, batch, masks, chosen))
            progress.advance(steps=len(batch.rows))
    found = pd.concat(parts, ignore_index=True).drop_duplicates(BOX_KEYS)
    return counts.merge(found, on=BOX_KEYS, how="left").astype(NULLABLE)


BOX_KEYS = ["case", "slice", "stage", "method", "seed", "mask", "threshold"]
NULLABLE = dict.fromkeys(("box_tp", "box_fp", "box_fn"), "Int32") | dict.fromkeys(
    ("box_loose", "box_strict"), "boolean"
)


def _mean_training_mask(config: ConfigDict, folder: Path, truth: Slices) -> Float[np.ndarray, "s s"]:
    """Where lesions of any mask target lie in the training slices."""
    index = records.read_index(folder, "train")
    drawn = index.loc[index["drawn"].map(len) > 0, "record"]
    return baselines.mean_mask_map(np.stack([truth("train", record).masks.any(axis=0) for record in drawn]))


def _baseline_maps(
    config: ConfigDict, slices: pd.DataFrame, truth: Slices, average: Float[np.ndarray, "s s"]
) -> Iterator[MapBatch]:
    names = (("hu_threshold", 0), ("whole_brain", 0), ("mean_training_mask", 0))
    for start in range(0, len(slices), config.cam.batch):
        rows = slices.iloc[start : start + config.cam.batch]
        heats = []
        for split, record in zip(rows["split"], rows["record"], strict=True):
            hu = truth(split, record).hu
            heats.append(np.stack([baselines.hu_threshold_map(hu), baselines.whole_brain_map(hu), average]))
        yield MapBatch("-", names, rows, np.stack(heats), baseline=True)


@functools.partial(jax.jit, static_argnames=("size", "upscale"))
def _count_pixels(
    heats: Float[Array, "b n h w"], masks: Bool[Array, "b m s s"], size: int, upscale: bool
) -> tuple[overlap.Counts, Bool[Array, "b m n"]]:
    def of_map(heat: Float[Array, "h w"], mask: Bool[Array, "s s"]) -> tuple[overlap.Counts, Bool[Array, ""]]:
        return overlap.threshold_counts(heat, mask, overlap.THRESHOLDS), relevance.pointing_hit(heat, mask)

    def of_slice(pair: tuple[Array, Array]) -> tuple[overlap.Counts, Array]:
        full = _full(pair[0], size, upscale)
        return jax.vmap(lambda mask: jax.vmap(lambda heat: of_map(heat, mask))(full))(pair[1])

    # One slice after another: maps at full size of all of them at once would fill the memory.
    return jax.lax.map(of_slice, (heats, masks))


@functools.partial(jax.jit, static_argnames=("size", "upscale"))
def _packed_masks(
    heats: Float[Array, "b n h w"], thresholds: Float[Array, "n t"], size: int, upscale: bool
) -> UInt8[Array, "b n t bytes"]:
    def of_slice(maps: Float[Array, "n h w"]) -> UInt8[Array, "n t bytes"]:
        full = _full(maps, size, upscale)
        above = full[:, None] > thresholds[:, :, None, None]
        return jnp.packbits(above.reshape(*thresholds.shape, size * size), axis=-1)

    return jax.lax.map(of_slice, heats)


def _full(maps: Float[Array, "n h w"], size: int, upscale: bool) -> Float[Array, "n s s"]:
    return jax.vmap(lambda m: postprocess.full_heat(m, (size, size)))(maps) if upscale else maps


def _pixel_rows(config: ConfigDict, batch: MapBatch, masks: Bool[np.ndarray, "b m s s"]) -> pd.DataFrame:
    """A row a slice with a lesion, mask target, map and threshold."""
    counts, pointing = jax.device_get(_count_pixels(batch.heats, masks, config.eval.size, not batch.baseline))
    b, m, n, t = counts.tp.shape
    at_slice, at_mask, at_map, at_threshold = (axis.ravel() for axis in np.indices((b, m, n, t)))
    keep = np.asarray(masks.any(axis=(2, 3)))[at_slice, at_mask]
    at_slice, at_mask, at_map, at_threshold = (a[keep] for a in (at_slice, at_mask, at_map, at_threshold))
    frame = batch.rows[["case", "patient", "slice", "split"]].iloc[at_slice].reset_index(drop=True)
    return frame.assign(
        run=config.name,
        stage=batch.stage,
        method=np.array([name for name, _ in batch.names])[at_map],
        seed=np.array([seed for _, seed in batch.names], np.int16)[at_map],
        mask=np.array(list(config.data.masks))[at_mask],
        target=config.cam.target,
        threshold=overlap.THRESHOLDS[at_threshold],
        tp=counts.tp[at_slice, at_mask, at_map, at_threshold],
        fp=counts.fp[at_slice, at_mask, at_map, at_threshold],
        fn=counts.fn[at_slice, at_mask, at_map, at_threshold],
        pointing=pointing[at_slice, at_mask, at_map],
        size=np.int16(config.eval.size),
        baseline=batch.baseline,
    )


def _box_rows(
    config: ConfigDict, batch: MapBatch, masks: Bool[np.ndarray, "b m s s"], chosen: pd.DataFrame
) -> pd.DataFrame:
    """Box columns at 0.5 and at each mask target's selected threshold."""
    names, size = list(config.data.masks), config.eval.size
    of_stage = chosen[chosen["stage"] == batch.stage].set_index(["method", "seed", "mask"])["threshold"]
    selected = [[of_stage.get((method, seed, name), FIXED) for name in names] for method, seed in batch.names]
    thresholds = np.concatenate([np.asarray(selected, np.float32), np.full((len(selected), 1), FIXED)], axis=1)
    packed = np.asarray(_packed_masks(batch.heats, thresholds, size, not batch.baseline))
    rows = []
    for i, row in enumerate(batch.rows.itertuples()):
        true_boxes = [boxes.component_boxes(mask) for mask in masks[i]]
        for k, (method, seed) in enumerate(batch.names):
            found = [
                boxes.component_boxes(np.unpackbits(p, count=size * size).reshape(size, size).astype(bool))
                for p in packed[i, k]
            ]
            for m, name in enumerate(names):
                if len(true_boxes[m]):
                    for at in (m, len(names)):
                        key = (row.case, row.slice, batch.stage, method, seed, name, thresholds[k, at])
                        rows.append(key + boxes.compare_boxes(found[at], true_boxes[m], (size, size))[:5])
    return pd.DataFrame(rows, columns=[*BOX_KEYS, *NULLABLE]).astype({"seed": np.int16, "threshold": np.float32})


def heat_of(
    config: ConfigDict, slices: pd.DataFrame, workdir: Path, stage: str, method: str, seed: int = 0
) -> Iterator[tuple[str, int, Float[np.ndarray, "s s"]]]:
    """Case, slice and full-size heat map of every slice that this method explained at this stage."""
    for batch in explanations.read(config, slices, workdir):
        if batch.stage == stage and (method, seed) in batch.names:
            maps = batch.heats[:, batch.names.index((method, seed))]
            full = np.asarray(_full(jnp.asarray(maps), config.eval.size, True))
            yield from zip(batch.rows["case"], batch.rows["slice"], full, strict=True)
