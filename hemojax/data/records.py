"""Records: the data set as hemojax trains on it and scores it, prepared once.

A TFDS data set in array_record format, a record a slice at its own resolution, with TFDS splits train, validation and
test that never separate the slices of a patient, and beside it `index.parquet`, the same rows without pixels: what a
loader needs to choose and count slices without decoding any. Neither writing nor reading needs TensorFlow.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
from jaxtyping import Float64

from hemojax.data.case import SPLITS, Case, drawn_in
from hemojax.data.labels import LABELS
from hemojax.data.splits import SplitAssigner, check_splits, write_splits
from hemojax.errors import UserError
from hemojax.progress import say

SLICES_A_SHARD = 2000
LAYOUT = 3
"""What a record holds, and its row in the index; those of another layout are made again."""
SPACING = ("spacing_i", "spacing_j", "spacing_k")
"""Columns of the index: the distance of neighbouring voxels along the axes of the scan's array, mm, or NaN."""
FEATURES = tfds.features.FeaturesDict(
    {
        "hu": tfds.features.Tensor(shape=(None, None), dtype=np.int16, encoding="zlib"),
        "mask": tfds.features.Tensor(shape=(None, None), dtype=np.uint16, encoding="zlib"),
        "labels": tfds.features.Tensor(shape=(len(LABELS),), dtype=np.int8),
        "case": tfds.features.Text(),
        "patient": tfds.features.Text(),
        "slice": tfds.features.Scalar(np.int32),
        "axes": tfds.features.Text(),
        "spacing": tfds.features.Tensor(shape=(3,), dtype=np.float32),
    }
)


def prepare(
    folder: Path, cases: Iterable[Case], fractions: Mapping[str, float], fingerprint: Mapping[str, Any], **dealing: Any
) -> None:
    """Write the records of these cases, unless the folder holds them already.

    They are written beside the folder and moved there when complete, so that a killed or failed preparation leaves
    nothing behind that a later run could mistake for a data set.

    Args:
        folder: where the data set goes.
        cases: the cases; not touched if the records are there.
        fractions: share of train, validation and test, for patients to whom the data set gives no split.
        fingerprint: what the records depend on (layout, folder, ...). Records with another one are made again, and so
            are those of another LAYOUT.
        **dealing: how these patients are dealt, see `splits.SplitAssigner`.

    Raises:
        UserError: a case is not usable, or a split has no positive or no negative slice.
    """
    wanted = json.loads(json.dumps(dict(fingerprint) | {"records": LAYOUT}))
    stamp = folder / "fingerprint.json"
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        index = _write(unfinished, cases, SplitAssigner(fractions, **dealing))
        check_splits(index)
    except UserError:
        shutil.rmtree(unfinished)
        raise
    index.to_parquet(unfinished / "index.parquet", index=False)
    write_splits(unfinished / "splits.csv", index)
    (unfinished / "fingerprint.json").write_text(json.dumps(wanted))
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _write(folder: Path, cases: Iterable[Case], assign: SplitAssigner) -> pd.DataFrame:
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="slices", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="hemojax"
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(builder=identity, features=FEATURES, description="Head-CT slices with their masks."),
        max_examples_per_shard=SLICES_A_SHARD,
        file_format="array_record",
    )
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    in_split: Counter[str] = Counter()
    writer.initialize_splits(list(SPLITS))
    for case in cases:
        if case.name in seen:
            raise UserError(f"two cases are named {case.name}; give each its own name")
        seen.add(case.name)
        split = assign(case)
        last = max(int(case.slices.max()), 1)
        spacing = np.asarray(case.spacing, np.float32)
        for n, number in enumerate(case.slices):
            drawn = np.ascontiguousarray(case.mask[..., n])
            names = {"case": case.name, "patient": case.patient, "slice": int(number), "axes": case.axes}
            hu = np.ascontiguousarray(case.hu[..., n])
            writer.add_examples(
                {split: [{"hu": hu, "mask": drawn, "labels": case.labels[n], "spacing": spacing, **names}]}
            )
            rows.append(
                {
                    "split": split,
                    "record": in_split[split],
                    **names,
                    "position": number / last,
                    "height": hu.shape[0],
                    "width": hu.shape[1],
                    **dict(zip(SPACING, spacing.tolist(), strict=True)),
                    "drawn": drawn_in(drawn),
                    **dict(zip(LABELS, case.labels[n].tolist(), strict=True)),
                }
            )
            in_split[split] += 1
    writer.close_all()
    say(f"prepared {len(seen)} cases, {len(rows)} slices: {', '.join(f'{s} {in_split[s]}' for s in SPLITS)}")
    return pd.DataFrame(rows)


def read_index(folder: Path, split: str) -> pd.DataFrame:
    """The rows of one split in record order, without pixels."""
    index = pd.read_parquet(folder / "index.parquet")
    return index[index["split"] == split].sort_values("record").reset_index(drop=True)


def heights(index: pd.DataFrame) -> Float64[np.ndarray, " n"]:
    """Where the slices of an index lie in their scans: 0 at the feet's end and 1 at the other.

    A scan whose slices are numbered towards the feet is turned round; one that is not axial stays as it is.
    """
    position = index["position"].to_numpy(np.float64)
    return np.where(index["axes"].str[2] == "I", 1 - position, position)


def data_source(folder: Path, split: str) -> Any:
    """Random access to the records of one split: `source[i]` is a dict with the keys of `FEATURES`."""
    return tfds.builder_from_directory(str(folder)).as_data_source(split)
