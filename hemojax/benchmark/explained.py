"""The slices that are explained: which they are, what of them is explained, and the network's inputs for them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.cam import engine, random, targets
from hemojax.compilation import Program
from hemojax.data import grey, loader, records
from hemojax.run import Run, TrainedRun


@dataclasses.dataclass(frozen=True)
class Explained:
    """The slices of a run that are explained, and what the classifier says.

    Attributes:
        slices: rows of the index, validation before test, and `lesion`: a mask target is drawn in the slice. Those
            without one are false positives.
        logits: the table `slices` of `hemojax.results`, of all validation and test slices.
    """

    slices: pd.DataFrame
    logits: pd.DataFrame


def of_run(run: Run) -> Explained:
    """The slices with a lesion and the false positives of a run, by the logits that its training wrote."""
    logits = results.read_table(run.results / "slices.parquet")
    return Explained(explained_slices(run, logits), logits)


def explained_slices(run: Run, logits: pd.DataFrame) -> pd.DataFrame:
    """Rows of the index, validation before test, of slices with a lesion and of false positives.

    A slice has a lesion if something of any mask target is drawn in it. A false positive has none, its first label is
    0, and the classifier calls some label positive (logit > 0). A slice that is labelled positive, but in which nothing
    is drawn, is neither.

    Args:
        run: the run.
        logits: the table of logits, see `training.predict.logits`.

    Returns:
        the index's columns, and `lesion`.
    """
    data = run.config.data
    wanted = {value for values in data.masks.values() for value in values}
    index = pd.concat([records.read_index(run.records, split) for split in ("validation", "test")], ignore_index=True)
    lesion = np.array([bool(wanted & set(drawn)) for drawn in index["drawn"]])
    called = set(logits.loc[logits["logit"] > 0, ["case", "slice"]].itertuples(index=False, name=None))
    positive = np.array([place in called for place in zip(index["case"], index["slice"], strict=True)])
    false_positive = ~lesion & (index[data.labels[0]].to_numpy() == 0) & positive
    return index.assign(lesion=lesion)[lesion | false_positive].reset_index(drop=True)


def spread(slices: pd.DataFrame, number: int) -> pd.DataFrame:
    """At most `number` slices with a lesion of each split, and as large a share of the others; all of them for 0.

    Both at even distances, in the order of the slices.
    """
    kept = []
    for _, rows in slices.groupby("split", sort=False):
        with_lesion = int(rows["lesion"].sum())
        share = min(1, number / with_lesion) if number and with_lesion else 1
        for _, alike in rows.groupby("lesion"):
            take = round(share * len(alike))
            kept += alike.index[((np.arange(take) + 0.5) * len(alike) / max(take, 1)).astype(int)].tolist()
    return slices.loc[sorted(kept)].reset_index(drop=True)


def program(run: TrainedRun, methods: Sequence[str], stages: Sequence[str], **options: Any) -> Program:
    """The engine's program (see `engine.build`), which draws and mirrors as the run's config says."""
    drawn = {name: run.config.cam[name] for name in ("chunk", "mirrored")} | {"registered": run.config.cam.registration}
    return engine.build(run.network, methods, stages, **(drawn | options))


def targets_of(config: ConfigDict, rows: pd.DataFrame, logits: pd.DataFrame) -> targets.Target:
    """The config's target of each of these slices.

    Args:
        config: the run's config.
        rows: of the index.
        logits: the table of logits.
    """
    labels = list(config.data.labels)
    truth = rows[labels].to_numpy() == 1
    wide = logits.pivot_table(index=["case", "slice"], columns="label", values="logit")[labels]
    values = wide.loc[list(zip(rows["case"], rows["slice"], strict=True))].to_numpy(np.float32)
    return targets.resolve(config.cam.target, labels)(truth, values)


def identities(rows: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """From which the random numbers of these rows of the index follow, see `cam.random.identity`."""
    return np.array([random.identity(row.case, row.slice) for row in rows.itertuples()])


def places(reader: loader.Reader, rows: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """Where the reader finds these rows of the index."""
    return grey.places(reader.folder, rows["split"].tolist(), rows["record"].to_numpy(np.int64))


def images(run: Run, rows: pd.DataFrame, size: int) -> Float[np.ndarray, "b s s c"]:
    """The network's inputs for these few rows of the index, with copies of the first up to `size`."""
    reader = loader.Reader(run.records, share=0.0)
    batch, normalisation = devices.whole_batch(size), run.config.data.normalisation
    ((found, _),) = loader.input_batches(reader, places(reader, rows), normalisation=normalisation, batch_size=batch)
    return np.asarray(found)[:size]
