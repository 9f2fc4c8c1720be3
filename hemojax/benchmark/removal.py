"""Does the classifier look at the bleed at all? Its logit with the bleed taken out, and slice position alone.

A classifier that does not need the bleed cannot be asked to point at it.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.benchmark import explanations
from hemojax.cam import random
from hemojax.data import grey, hounsfield, records
from hemojax.data.case import in_target
from hemojax.files import replacing
from hemojax.metrics import midline, position, removal
from hemojax.models.staged import StagedNetwork
from hemojax.progress import Progress
from hemojax.reporting import figures, tables
from hemojax.training import predict
from hemojax.training.state import Variables

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


def write(config: ConfigDict, network: StagedNetwork, variables: Variables, folder: Path, workdir: Path) -> None:
    """Write `results/removal.parquet`, `results/position.parquet` and, for a picture, `results/removal.npz`.

    Args:
        config: the run's config.
        network: the classifier.
        variables: its parameters and statistics.
        folder: the records.
        workdir: the run's folder.
    """
    results = workdir / "results"
    table, examples = measure(config, network, variables, folder)
    tables.write_table(results / "removal.parquet", table.assign(run=config.name))
    tables.write_table(results / "position.parquet", positions(config, folder).assign(run=config.name))
    if examples:
        with replacing(results / "removal.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **examples)


def measure(
    config: ConfigDict, network: StagedNetwork, variables: Variables, folder: Path
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Logits of the test slices before and after each mask target is filled.

    Returns:
        a row for each slice with a mask, mask target, fill and label that is present: case, patient, slice, split,
        mask, fill, label, logit, filled_logit.
        And up to `eval.gallery` slices of each mask target, evenly spread, turned for display: `before`,
        SURROUNDINGS and OTHER_SIDE (n, s, s) uint8 in the first window, `mask`, `case`, `slice`; empty without one.
    """
    index = records.read_index(folder, "test")
    labels = list(config.data.labels)
    index = index[(index[labels] == 1).any(axis=1)]
    shown = {
        name: _examples(index[[bool(set(values) & set(drawn)) for drawn in index["drawn"]]], config.eval.gallery)
        for name, values in config.data.masks.items()
    }
    infer = predict.build(network)
    size = devices.whole_batch(max(config.eval.batch, 3))
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    with Progress("removing bleeds", len(index)) as progress:
        slices = _filled(config, folder, index, progress)
        while group := list(islice(slices, size // 3)):
            images = [_input(hu, config.data) for filled in group for hu in filled.hu.values()]
            images += images[:1] * (size - len(images))
            logits = iter(np.asarray(infer(variables, np.stack(images)), np.float32))
            for filled in group:
                found = {fill: next(logits) for fill in filled.hu}
                rows += _rows(filled, found, labels)
                if (filled.row.case, filled.row.slice) in shown[filled.mask] and OTHER_SIDE in filled.hu:
                    examples.append(_example(filled, config))
    columns = ["case", "patient", "slice", "split", "mask", "fill", "label", "logit", "filled_logit"]
    arrays = {key: np.stack([example[key] for example in examples]) for key in (examples[0] if examples else ())}
    return pd.DataFrame(rows, columns=columns), arrays


def positions(config: ConfigDict, folder: Path) -> pd.DataFrame:
    """How likely each validation and test slice is positive by its position in the scan alone.

    Learnt from the training slices. Slices whose truth is not known are left out on both sides.

    Returns:
        a row a slice and label: case, patient, slice, split, label, truth, score.
    """
    index = {split: records.read_index(folder, split) for split in ("train", "validation", "test")}
    places = {
        split: position.from_below(rows["position"].to_numpy(np.float64), "".join(axes[2] for axes in rows["axes"]))
        for split, rows in index.items()
    }
    frames = []
    for label in config.data.labels:
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


def _filled(config: ConfigDict, folder: Path, index: pd.DataFrame, progress: Progress) -> Iterator[Filled]:
    source = records.data_source(folder, "test")
    for row in index.itertuples():
        record = source[row.record]
        hu, seed = record["hu"], random.identity(row.case, row.slice)
        # A sagittal slice has no other side.
        lines = [midline.find(hu, axis) for axis, letter in enumerate(row.axes[:2]) if letter in "LR"]
        for name, values in config.data.masks.items():
            mask = in_target(record["mask"], tuple(values))
            if mask.any():
                found = {"": hu.astype(np.float32), SURROUNDINGS: removal.fill_from_surroundings(hu, mask, seed)}
                for line in lines:
                    found[OTHER_SIDE] = removal.fill_from_other_side(hu, mask, line, seed)
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
    chosen = explanations.spread(rows.assign(lesion=True), number) if number else rows.iloc[:0]
    return set(zip(chosen["case"], chosen["slice"], strict=True))


def _example(filled: Filled, config: ConfigDict) -> dict[str, Any]:
    flips, window = figures.flips(filled.row.axes), config.data.windows[:1]
    names = {"": "before", SURROUNDINGS: SURROUNDINGS, OTHER_SIDE: OTHER_SIDE}
    pictures = {
        names[fill]: np.round(hounsfield.grey(hu, config.eval.size, window, False)[..., 0] * 255).astype(np.uint8)
        for fill, hu in filled.hu.items()
    }
    turned = {name: figures.display(picture, flips) for name, picture in pictures.items()}
    return turned | {"mask": filled.mask, "case": filled.row.case, "slice": filled.row.slice}
