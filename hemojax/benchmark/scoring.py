"""From heat maps to the tables of a run: pixels at every threshold and level, what is said of a map without one, boxes.

The memory does not grow with the number of slices: only maps of a few of them are held at full size.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Float32, Int32
from ml_collections import ConfigDict

from hemojax.benchmark import box_scoring, full_maps, fusion, ground_truth, row_keys, student
from hemojax.benchmark.explained import Explained
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.compilation import Program
from hemojax.metrics import curves, overlap
from hemojax.metrics.pointing import energy, pointing_hit, pointing_near, rank_accuracy
from hemojax.progress import Progress
from hemojax.run import Run

Sums = dict[tuple[Any, ...], Int32[np.ndarray, "2 levels"]]
"""Pixels of each level, inside and outside, of a patient's slices together (8,191 of them at 512 pixels, before 32 bits
overflow); by the columns of `CURVE`."""

CURVE = ["patient", "split", "stage", "method", "seed", "mask", "baseline"]


class Scores(NamedTuple):
    """The result tables of all maps of a run, see `hemojax.results`."""

    counts: pd.DataFrame
    maps: pd.DataFrame
    curves: pd.DataFrame
    lesions: pd.DataFrame


class Figures(NamedTuple):
    """What one pass over a map says of it: `overlap.count`, and the figures of `hemojax.metrics.pointing`."""

    counts: overlap.Counts
    levels: overlap.Levels
    pointing: Bool[Array, "*maps"]
    pointing_near: Bool[Array, "*maps"]
    energy: Float32[Array, "*maps"]
    rank: Float32[Array, "*maps"]


class Pixels(NamedTuple):
    """What the first pass says of a batch of maps.

    Attributes:
        counts: rows of the table, without the columns of boxes.
        maps: rows of the table, without those at Otsu's threshold.
        otsu: that threshold of each map.
    """

    counts: pd.DataFrame
    maps: pd.DataFrame
    otsu: Float32[np.ndarray, "b n"]


def score(run: Run, explained: Explained) -> Scores:
    """The tables of all maps of a run, of those fused of them, of the student's, and of the baselines.

    What is fused, and what the student learns, is chosen by the scores of the others (see `fusion.choose` and
    `student.teach`).

    Args:
        run: the run, whose maps are there.
        explained: the slices that they explain.
    """
    of_slice = ground_truth.Slices(run)
    steps = full_maps.steps_of_single(run, explained)
    tables = [_of_maps(run, of_slice, lambda: full_maps.single(run, explained), steps)]
    counts = tables[0][0]
    fusion.choose(run, explained, counts)
    if fusion.recipes(run):
        steps = full_maps.steps_of_fused(run, explained)
        tables.append(_of_maps(run, of_slice, lambda: full_maps.fused(run, explained), steps))
    student.teach(run, explained, counts)
    if run.config.eval.student:
        steps = full_maps.steps_of_taught(run, explained)
        tables.append(_of_maps(run, of_slice, lambda: full_maps.taught(run, explained), steps))
    counts, maps, levels = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    return Scores(counts, maps, levels, ground_truth.lesions(run, explained, of_slice))


def _of_maps(
    run: Run, of_slice: ground_truth.Slices, batches: Callable[[], Iterator[MapBatch]], total: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Counts, maps and curves, in two passes: pixels; then, with the thresholds that these select, boxes."""
    config = run.config

    def maps() -> Iterator[tuple[MapBatch, Bool[np.ndarray, "b m s s"]]]:
        for batch in batches():
            places = zip(batch.rows["split"], batch.rows["record"], strict=True)
            yield batch, np.stack([of_slice.masks(*place) for place in places])

    sums: Sums = {}
    with Progress("scoring: pixels", total) as progress:
        parts, first = [], []
        for batch, masks in maps():
            found = pixels(config, batch, masks=masks, sums=sums)
            parts.append(found.counts)
            first.append((found.maps, found.otsu))
            progress.advance(steps=len(batch.rows))
    counts = pd.concat(parts, ignore_index=True)
    del parts  # by far the largest table: once is enough
    thresholds = box_scoring.best_thresholds(counts)
    with Progress("scoring: boxes", total) as progress:
        boxes, all_maps = [], []
        for (batch, masks), (names, otsu) in zip(maps(), first, strict=True):
            at_thresholds, at_otsu = box_scoring.boxes_of(config, batch, masks=masks, best=thresholds, otsu=otsu)
            boxes.append(at_thresholds)
            all_maps.append(pd.concat([names, at_otsu], axis=1))  # both in the order of `row_keys.kept`
            progress.advance(steps=len(batch.rows))
    return (
        box_scoring.merge(counts, pd.concat(boxes, ignore_index=True)),
        pd.concat(all_maps, ignore_index=True),
        curve_table(config, sums),
    )


def pixels(config: ConfigDict, batch: MapBatch, *, masks: Bool[np.ndarray, "b m s s"], sums: Sums) -> Pixels:
    """The first pass over a batch of maps, see `row_keys.kept`.

    Args:
        config: the run's config.
        batch: the maps.
        masks: of its slices.
        sums: to which the pixels of each level are added, of masks that are not empty.
    """

    def of_slice(at: int, maps: Float[Array, "n s s"]) -> Figures:
        return jax.device_get(_figures(maps, masks[at]))

    parts = full_maps.each_slice(of_slice, batch, config.eval.size)
    figures: Figures = jax.tree.map(lambda *of_slices: np.stack(of_slices), *parts)
    at = row_keys.kept(batch, masks)
    frame = row_keys.names(config, batch, at)
    there = np.asarray(masks.any(axis=(2, 3)))[at[0], at[2]]
    inside, outside = (np.asarray(levels)[at] for levels in figures.levels)
    for *key, true, part in zip(*(frame[name] for name in CURVE), there, np.stack([inside, outside], 1), strict=True):
        if true:
            sums[tuple(key)] = sums.get(tuple(key), 0) + part
    number = len(overlap.THRESHOLDS)
    counts = frame.loc[frame.index.repeat(number)].reset_index(drop=True)
    counts["threshold"] = np.tile(overlap.THRESHOLDS, len(frame))
    for name, values in figures.counts._asdict().items():
        counts[name] = values[at].ravel()
    found = {name: getattr(figures, name)[at] for name in ("pointing", "pointing_near", "energy", "rank")}
    found |= {"auroc": curves.auroc(inside, outside), "ap": curves.average_precision(inside, outside)}
    dtypes = dict.fromkeys(found, "float32") | dict.fromkeys(("pointing", "pointing_near"), "boolean")
    maps = frame.join(pd.DataFrame(found).astype(dtypes).where(np.repeat(there[:, None], len(found), axis=1)))
    # All pixels are inside or outside of any one mask.
    otsu = curves.otsu_threshold(np.asarray(figures.levels.inside + figures.levels.outside)[:, :, 0])
    return Pixels(counts, maps.assign(otsu=otsu[at[:2]]), otsu)


@Program
def _figures(maps: Float[Array, "n s s"], masks: Bool[Array, "m s s"]) -> Figures:
    def of_pair(heat: Float[Array, "s s"], mask: Bool[Array, "s s"]) -> Figures:
        return Figures(
            *overlap.count(heat, mask, overlap.THRESHOLDS),
            pointing=pointing_hit(heat, mask),
            pointing_near=pointing_near(heat, mask),
            energy=energy(heat, mask),
            rank=rank_accuracy(heat, mask),
        )

    # One map after another, which stays in the cache: on a CPU vmapped histograms take five times as long.
    return jax.lax.map(lambda heat: jax.lax.map(lambda mask: of_pair(heat, mask), masks), maps)


def curve_table(config: ConfigDict, sums: Sums) -> pd.DataFrame:
    """The table `curves`."""
    frame = pd.DataFrame(list(sums), columns=CURVE).assign(run=config.name)
    return frame.assign(inside=[pair[0] for pair in sums.values()], outside=[pair[1] for pair in sums.values()])
