"""The maps of a run at full size, where pixels are counted: single, fused and the student's, and the baselines'."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from hemojax.benchmark import baselines, fusion, ground_truth, stored_maps, student
from hemojax.benchmark.explained import Explained
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.cam import refinement
from hemojax.compilation import Program
from hemojax.data import hounsfield
from hemojax.run import Run

Result = TypeVar("Result")

BASELINES = (("hu_threshold", 0), ("whole_brain", 0), ("mean_training_mask", 0))


def batches(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """All maps of a run, a batch and stage at a time, in the order of the functions below."""
    yield from single(run, explained)
    yield from fused(run, explained)
    yield from taught(run, explained)


def single(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """The baselines' maps, then those of the run's jobs, each raw and refined."""
    yield from _baselines(run, explained.slices)
    yield from _with_refined(run, stored_maps.read(run, explained))


def fused(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """What the run's recipes make of its maps (see `fusion`), raw and refined; nothing where none was chosen yet."""
    yield from _with_refined(run, fusion.batches(run, explained))


def taught(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """What the student draws, raw and refined; nothing where none is asked for."""
    yield from _with_refined(run, student.batches(run, explained))


def _with_refined(run: Run, batches: Iterator[MapBatch]) -> Iterator[MapBatch]:
    of_slice = ground_truth.Slices(run)
    for batch in batches:
        yield batch
        for name in run.config.eval.refine:
            yield _refined(batch, name, of_slice)


def steps(run: Run, explained: Explained) -> int:
    """How many slices the batches of `batches` hold together."""
    return steps_of_single(run, explained) + steps_of_fused(run, explained) + steps_of_taught(run, explained)


def steps_of_single(run: Run, explained: Explained) -> int:
    """The same of `single`."""
    jobs = stored_maps.jobs(run.config.cam, explained.slices)
    copies = 1 + len(run.config.eval.refine)
    return len(explained.slices) + copies * sum(len(job.slices) * len(job.stages) for job in jobs)


def steps_of_fused(run: Run, explained: Explained) -> int:
    """The same of `fused`."""
    return len(explained.slices) * (1 + len(run.config.eval.refine)) * bool(fusion.recipes(run))


def steps_of_taught(run: Run, explained: Explained) -> int:
    """The same of `taught`."""
    return len(explained.slices) * (1 + len(run.config.eval.refine)) * bool(run.config.eval.student)


def _baselines(run: Run, slices: pd.DataFrame) -> Iterator[MapBatch]:
    of_slice, batch = ground_truth.Slices(run), run.config.cam.batch
    average = ground_truth.mean_training_mask(run, of_slice)
    for start in range(0, len(slices), batch):
        rows = slices.iloc[start : start + batch]
        heats = []
        for split, record in zip(rows["split"], rows["record"], strict=True):
            hu = of_slice.hu(split, record)
            heats.append(np.stack([baselines.hu_threshold_map(hu), baselines.whole_brain_map(hu), average]))
        yield MapBatch("-", BASELINES, rows, np.stack(heats), baseline=True, full_size=True)


def _refined(batch: MapBatch, name: str, of_slice: ground_truth.Slices) -> MapBatch:
    def refine(at: int, maps: Float[Array, "n size size"]) -> Float[Array, "n size size"]:
        row = batch.rows.iloc[at]
        guide = hounsfield.guide(of_slice.hu(row["split"], int(row["record"])))
        return refined(name)(maps, jnp.asarray(guide))

    names = tuple((refinement.named(method, name), seed) for method, seed in batch.names)
    return dataclasses.replace(batch, names=names, refine=refine)


def each_slice(
    function: Callable[[int, Float[Array, "n size size"]], Result], batch: MapBatch, size: int
) -> list[Result]:
    """Calls the function with each slice's place in the batch and maps on the grid.

    As many slices at a time as there are cores; each in a thread of its own, so the function must not change what is
    shared. That is what bounds the memory.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda at: function(at, _full_size(batch, at, size)), range(len(batch.rows))))


def _full_size(batch: MapBatch, at: int, size: int) -> Float[Array, "n size size"]:
    heats = jnp.asarray(batch.heats[at])
    full = heats if batch.full_size else stored_maps.resized(size, batch.shift)(heats)
    return batch.refine(at, full) if batch.refine else full


@functools.cache
def refined(name: str) -> Callable[[Float[Array, "n s s"], Float[Array, "s s"]], Float[Array, "n s s"]]:
    """The program that refines maps by the guide of their slice, see `refinement.refine`."""
    return Program(functools.partial(refinement.refine, name))


def heat_of(
    run: Run, explained: Explained, *, stage: str, method: str, seed: int = 0
) -> Iterator[tuple[str, int, Float[np.ndarray, "s s"]]]:
    """Case, slice and full-size heat map of every slice that this method explained at this stage."""
    made = {fusion.FUSED: fused, student.STUDENT: taught}
    singles = _with_refined(run, stored_maps.read(run, explained))
    for batch in made[stage](run, explained) if stage in made else singles:
        if batch.stage == stage and (method, seed) in batch.names:
            maps = each_slice(lambda at, maps: np.asarray(maps[0]), batch.only((method, seed)), run.config.eval.size)
            yield from zip(batch.rows["case"], batch.rows["slice"], maps, strict=True)
