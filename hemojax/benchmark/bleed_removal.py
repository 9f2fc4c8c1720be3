"""Does the classifier look at the bleed at all? Its logit with the bleed taken out, and slice position alone.

A classifier that does not need the bleed cannot be asked to point at it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.batches import filled
from hemojax.benchmark.explained import spread
from hemojax.cam import random
from hemojax.data import grey, hounsfield, inpainting, midline, orientation, records
from hemojax.data.case import in_target
from hemojax.files import replacing
from hemojax.metrics import position
from hemojax.progress import Progress
from hemojax.run import Run, TrainedRun
from hemojax.training import predict

SURROUNDINGS, OTHER_SIDE = "surroundings", "other side"


class Filled(NamedTuple):
    """A slice, and the same with one mask target taken out.

    Attributes:
        row: of the index.
        mask: name of the mask target.
        hu: the slices in HU, by fill: "" as it is, SURROUNDINGS, and OTHER_SIDE where the slice has two.
    """

    row: Any
    mask: str
    hu: dict[str, Float32[np.ndarray, "h w"]]


def write(run: TrainedRun) -> None:
    """Write `results/removal.parquet`, `results/position.parquet` and, for a picture, `results/removal.npz`."""
    table, examples = measure(run)
    results.write_table(run.results / "removal.parquet", table.assign(run=run.config.name))
    results.write_table(run.results / "position.parquet", positions(run).assign(run=run.config.name))
    if examples:
        with replacing(run.results / "removal.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **examples)


def measure(run: TrainedRun) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Logits of the test slices before and after each mask target is filled.

    Returns:
        a row for each slice with a mask, mask target, fill and label that is present: case, patient, slice, split,
        mask, fill, label, logit, filled_logit.
        And up to `eval.gallery` slices of each mask target, evenly spread, turned for display: `before`,
        SURROUNDINGS and OTHER_SIDE (n, s, s) uint8 in the first window, `mask`, `case`, `slice`; empty without one.
    """
    config, index = run.config, records.read_index(run.records, "test")
    labels = list(config.data.labels)
    index = index[(index[labels] == 1).any(axis=1)]
    shown = {
        name: _examples(index[[bool(set(values) & set(drawn)) for drawn in index["drawn"]]], config.eval.gallery)
        for name, values in config.data.masks.items()
    }
    infer = predict.build(run.network)
    size = devices.whole_batch(max(config.eval.batch, 3))
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    with Progress("removing bleeds", len(index)) as progress:
        slices = _filled(run, index, progress)
        while group := list(islice(slices, size // 3)):
            images = np.stack([_input(hu, config.data) for one in group for hu in one.hu.values()])
            logits = iter(np.asarray(infer(run.variables, images[filled(len(images), size)]), np.float32))
            for one in group:
                found = {fill: next(logits) for fill in one.hu}
                rows += _rows(one, found, labels)
                if (one.row.case, one.row.slice) in shown[one.mask] and OTHER_SIDE in one.hu:
                    examples.append(_example(one, config))
    columns = ["case", "patient", "slice", "split", "mask", "fill", "label", "logit", "filled_logit"]
    arrays = {key: np.stack([example[key] for example in examples]) for key in (examples[0] if examples else ())}
    return pd.DataFrame(rows, columns=columns), arrays


def positions(run: Run) -> pd.DataFrame:
    """How likely each validation and test slice is positive by its position in the scan alone.

    Learnt from the training slices. Slices whose truth is not known are left out on both sides.

    Returns:
        a row a slice and label: case, patient, slice, split, label, truth, score.
    """
    index = {split: records.read_index(run.records, split) for split in ("train", "validation", "test")}
    places = {split: records.heights(rows) for split, rows in index.items()}
    frames = []
    for label in run.config.data.labels:
        truth = {split: rows[label].to_numpy() for split, rows in index.items()}
        known = {split: values >= 0 for split, values in truth.items()}
        learnt = places["train"][known["train"]], truth["train"][known["train"]]
        for split in ("validation", "test"):
            keep = known[split]
            frame = index[split].loc[keep, ["case", "patient", "slice", "split"]].reset_index(drop=True)
            score = position.kernel_regression(*learnt, places[split][keep])
            frames.append(
                frame.assign(label=label, truth=truth[split][keep].astype(np.int8), score=score.astype(np.float32))
            )
    return pd.concat(frames, ignore_index=True)


def _filled(run: Run, index: pd.DataFrame, progress: Progress) -> Iterator[Filled]:
    source = records.data_source(run.records, "test")
    for row in index.itertuples():
        record = source[row.record]
        hu, seed = record["hu"], random.identity(row.case, row.slice)
        # A sagittal slice has no other side.
        lines = [midline.find(hu, axis) for axis, letter in enumerate(row.axes[:2]) if letter in "LR"]
        for name, values in run.config.data.masks.items():
            mask = in_target(record["mask"], tuple(values))
            if mask.any():
                found = {"": hu.astype(np.float32), SURROUNDINGS: inpainting.fill_from_surroundings(hu, mask, seed)}
                for line in lines:
                    found[OTHER_SIDE] = inpainting.fill_from_other_side(hu, mask, line, seed)
                yield Filled(row, name, found)
        progress.advance()


def _input(hu: Float32[np.ndarray, "h w"], data: ConfigDict) -> Float32[np.ndarray, "s s c"]:
    return hounsfield.normalise(grey.from_hu(hu, data), data.normalisation)


def _rows(filled: Filled, logits: dict[str, Float32[np.ndarray, " l"]], labels: list[str]) -> Iterator[dict[str, Any]]:
    row = filled.row
    for fill in filled.hu:
        for column, label in enumerate(labels):
            if fill and getattr(row, label) == 1:
                yield {
                    "case": row.case,
                    "patient": row.patient,
                    "slice": row.slice,
                    "split": row.split,
                    "mask": filled.mask,
                    "fill": fill,
                    "label": label,
                    "logit": logits[""][column],
                    "filled_logit": logits[fill][column],
                }


def _examples(rows: pd.DataFrame, number: int) -> set[tuple[str, int]]:
    chosen = spread(rows.assign(lesion=True), number) if number else rows.iloc[:0]
    return set(zip(chosen["case"], chosen["slice"], strict=True))


def _example(filled: Filled, config: ConfigDict) -> dict[str, Any]:
    flips, window = orientation.flips(filled.row.axes), config.data.windows[:1]
    names = {"": "before", SURROUNDINGS: SURROUNDINGS, OTHER_SIDE: OTHER_SIDE}
    pictures = {
        names[fill]: np.round(hounsfield.grey(hu, config.eval.size, window, False)[..., 0] * 255).astype(np.uint8)
        for fill, hu in filled.hu.items()
    }
    turned = {name: orientation.display(picture, flips) for name, picture in pictures.items()}
    return turned | {"mask": filled.mask, "case": filled.row.case, "slice": filled.row.slice}
