"""Maps of several methods and stages as one: which ones is chosen on validation, one by one.

What was chosen, the recipes, stands in `results/fusion.json`. A fused map stands in the tables at the stage FUSED,
under the name of its rule.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Float16, Float32

from hemojax import results
from hemojax.benchmark import ground_truth, stored_maps
from hemojax.benchmark.explained import Explained, spread
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.cam import postprocess, refinement
from hemojax.cam.registry import costly
from hemojax.compilation import Program
from hemojax.data import hounsfield
from hemojax.data.case import chief_target
from hemojax.metrics import overlap
from hemojax.progress import Progress
from hemojax.run import Run
from hemojax.statistics import thresholds
from hemojax.statistics.summary import is_random

FUSED = "fused"
RULES = {"mean": postprocess.fuse_mean, "geometric_mean": postprocess.fuse_geometric_mean}
CANDIDATES = 12
SLICES = 64
"""Of validation, on which recipes are chosen, and from how many cells: those with the best Dice by themselves."""
GAIN = 1e-3
"""A map that raises Dice by less is not added."""

Cell = tuple[str, str]
"""Stage and method."""
Recipes = Mapping[str, Sequence[Cell]]
"""By the rule's name: the cells that it fuses."""


class Known(NamedTuple):
    """Maps of slices, the truth, and by what they are refined."""

    maps: Float16[np.ndarray, "slices cells s s"]
    masks: Bool[np.ndarray, "slices s s"]
    guides: Float32[np.ndarray, "slices s s"]


def recipes(run: Run) -> Recipes:
    """What was chosen; empty before."""
    path = run.results / "fusion.json"
    stored = results.read_json(path) if path.exists() else {}
    return {rule: tuple((stage, method) for stage, method in cells) for rule, cells in stored.items()}


def fuse(rule: str, maps: Float[Array, "n s s"]) -> Float[Array, "s s"]:
    """One map of several at full size."""
    return RULES[rule](tuple(maps), (maps.shape[1], maps.shape[2]))


def choose(run: Run, explained: Explained, counts: pd.DataFrame) -> None:
    """Write the recipes: for each rule, forward selection by pooled Dice of the chief mask target on validation.

    It begins with the best map and adds the one with which Dice is highest, while that raises it, up to `eval.fuse`
    maps (as Caruana et al. 2004 choose ensembles). Dice is that of the fused map after the first of `eval.refine`, if
    there is one. A rule of which but one map is left has no recipe.

    Args:
        run: whose maps are there.
        explained: the slices that they explain.
        counts: the counts table, of which the validation split is looked at.
    """
    evaluation, found = run.config.eval, {}
    refine = evaluation.refine[0] if evaluation.refine else ""
    candidates = _best_cells(counts, chief_target(run.config.data.masks.to_dict()), refine) if evaluation.fuse else []
    if len(candidates) > 1:
        known = _validation_maps(run, explained, candidates)
        with Progress("fusing", len(RULES) * (evaluation.fuse - 1)) as progress:
            for rule in RULES:
                dice = functools.partial(_dice, rule, refine, known)
                chosen = _forward(dice, len(candidates), evaluation.fuse, progress)
                if len(chosen) > 1:
                    found[rule] = [candidates[place] for place in chosen]
    results.write_json(run.results / "fusion.json", found)


def batches(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """The fused maps of all explained slices."""
    chosen = recipes(run)
    cells = tuple(dict.fromkeys(cell for cells in chosen.values() for cell in cells))
    if not cells:
        return
    for rows, maps in _full_size(run, explained, cells):
        heats = [
            np.stack([_fused(rule)(one[[cells.index(cell) for cell in part]]) for rule, part in chosen.items()])
            for one in maps
        ]
        yield MapBatch(FUSED, tuple((rule, 0) for rule in chosen), rows, np.stack(heats), full_size=True)


def _best_cells(counts: pd.DataFrame, mask: str, refine: str) -> list[Cell]:
    """The best by themselves of those whose maps lie together: of all methods but the costly ones."""
    known = counts[(counts["mask"] == mask) & ~counts["baseline"] & ~is_random(counts["method"])]
    known = known[(known["split"] == "validation") & thresholds.drawn(known)]
    names = {name: refinement.parts(name) for name in known["method"].unique()}
    kept = [name for name, (method, by) in names.items() if by == refine and not costly(method)]
    known = known[known["method"].isin(kept)]
    if known.empty:
        return []
    best = thresholds.select_thresholds(known)
    best = best.assign(method=[names[name][0] for name in best["method"]])
    best = best.sort_values("dice", ascending=False, kind="stable").head(CANDIDATES)
    return list(best[["stage", "method"]].itertuples(index=False, name=None))


def _validation_maps(run: Run, explained: Explained, cells: Sequence[Cell]) -> Known:
    """The maps of some validation slices with a lesion."""
    of_slice, targets = ground_truth.Slices(run), list(run.config.data.masks)
    target = targets.index(chief_target(run.config.data.masks.to_dict()))
    known = explained.slices[explained.slices["lesion"] & (explained.slices["split"] == "validation")]
    wanted = set(spread(known, SLICES)[["case", "slice"]].itertuples(index=False, name=None))
    found: list[tuple[np.ndarray, ...]] = []
    for rows, maps in _full_size(run, explained, cells):
        if len(found) == len(wanted):  # validation comes before test
            break
        for row, one in zip(rows.itertuples(), maps, strict=True):
            if (row.case, row.slice) in wanted:
                truth = of_slice(row.split, row.record)
                guide = hounsfield.guide(truth.hu).astype(np.float32)
                found.append((one.astype(np.float16), truth.masks[target], guide))
    return Known(*(np.stack(part) for part in zip(*found, strict=True)))


def _full_size(
    run: Run, explained: Explained, cells: Sequence[Cell]
) -> Iterator[tuple[pd.DataFrame, Float[np.ndarray, "b cells s s"]]]:
    """Rows of the index, and these cells' maps of them."""
    size = run.config.eval.size
    shared = stored_maps.read(run, explained, only=stored_maps.SHARED)
    for _, stages in groupby(shared, key=lambda batch: batch.rows.index[0]):
        found: dict[Cell, np.ndarray] = {}
        for batch in stages:
            resized = stored_maps.resized(size, batch.shift)
            for place, (method, seed) in enumerate(batch.names):
                if seed == 0 and (batch.stage, method) in cells:
                    found[batch.stage, method] = np.asarray(resized(jnp.asarray(batch.heats[:, place])))
            rows = batch.rows
        yield rows, np.stack([found[cell] for cell in cells], axis=1)


def _forward(dice: Callable[[list[int]], float], number: int, most: int, progress: Progress) -> list[int]:
    """Places of the candidates that are fused, the first of them (the best by itself) included."""
    chosen, reached = [0], dice([0])
    for _ in range(most - 1):
        rest = {place: dice([*chosen, place]) for place in range(number) if place not in chosen}
        progress.advance()
        best = max(rest, key=rest.__getitem__, default=None)
        if best is None or rest[best] < reached + GAIN:
            break
        chosen, reached = [*chosen, best], rest[best]
    return chosen


def _dice(rule: str, refine: str, known: Known, places: list[int]) -> float:
    """Pooled Dice at the best threshold."""
    count = _counts(rule, refine)
    counts = [count(maps[places], mask, guide) for maps, mask, guide in zip(*known, strict=True)]
    return float(np.max(overlap.dice(*(np.sum(part, axis=0) for part in zip(*jax.device_get(counts), strict=True)))))


@functools.cache
def _fused(rule: str) -> Callable[[Float[np.ndarray, "n s s"]], Float[Array, "s s"]]:
    return Program(functools.partial(fuse, rule))


@functools.cache
def _counts(rule: str, refine: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], overlap.Counts]:
    def count(maps: Float16[Array, "n s s"], mask: Bool[Array, "s s"], guide: Float32[Array, "s s"]) -> overlap.Counts:
        fused = fuse(rule, maps.astype(jnp.float32))
        if refine:
            (fused,) = refinement.refine(refine, fused[None], guide)
        return overlap.count(fused, mask, overlap.THRESHOLDS)[0]

    return Program(count)
