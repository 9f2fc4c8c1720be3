"""Records: the data set as hemojax trains on it and scores it, prepared once.

A TFDS data set in array_record format, a record a slice at its own resolution, with TFDS splits train, validation and
test that never separate the slices of a patient, and beside it `index.parquet`, the same rows without pixels: what a
loader needs to choose and count slices without decoding any. Neither writing nor reading needs TensorFlow.
"""

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
from jaxtyping import Float64

from hemojax.data import duplicates, origins, parts, shards
from hemojax.data.case import SPLITS, Case
from hemojax.data.labels import LABELS
from hemojax.data.listing import Listing
from hemojax.data.parts import FEATURES, SPACING, Part
from hemojax.data.splits import SplitAssigner, check_splits, write_splits
from hemojax.errors import UserError
from hemojax.files import read_stamp, write_stamp
from hemojax.progress import Progress, say

EMPTY = ("split", "any", "case", "patient", "digest")
"""Columns of an index without cases, of which it is said what is missing."""
LAYOUT = 4
"""What a record holds, and its row in the index; those of another layout are made again."""


def stand(folder: Path, fingerprint: Mapping[str, Any], tree: str | None, *, skip: bool) -> bool:
    """Whether the folder holds the records of a data set of which no file has changed, which needs no listing of it.

    Args:
        folder: of the records.
        fingerprint: see `prepare`.
        tree: of the data set's folder, see `origins.tree`; None if that is gone, and the records are all there is.
        skip: see `prepare`.
    """
    unchanged = tree is None or read_stamp(folder / "tree.json") == {"tree": tree}
    known = unchanged and read_stamp(folder / "fingerprint.json") == _wanted(fingerprint)
    return known and (skip or not left_out(folder))


def layout(folder: Path) -> str:
    """The layout of the data set that the folder's records are of; "" where there are none."""
    return str(read_stamp(folder / "fingerprint.json").get("layout", ""))


def remember(folder: Path, tree: str) -> None:
    """Note that the records are those of a data set whose files stand so, for `stand`."""
    write_stamp(folder / "tree.json", {"tree": tree})


def prepare(
    folder: Path,
    listing: Listing,
    fractions: Mapping[str, float],
    fingerprint: Mapping[str, Any],
    *,
    skip: bool = False,
    **dealing: Any,
) -> None:
    """Make the records of a data set, unless the folder holds them already; cases that have not changed are kept.

    A case is prepared as a part (see `parts`), of which a killed preparation has to make no finished one again. When
    all are there, the records are written beside the folder and moved there, so that nothing is ever left behind that
    a later run could mistake for a data set.

    Args:
        folder: where the data set goes.
        listing: the cases; none is read whose origin (see `origins`) is that of its records.
        fractions: share of train, validation and test, for patients to whom the data set gives no split. Where a data
            set has changed, patients keep the split that they had.
        fingerprint: what else the records depend on (layout, folder, ...). With another one all are made again, and so
            are those of another LAYOUT.
        skip: leave out cases that cannot be read (see `left_out`), instead of stopping at the first.
        **dealing: how these patients are dealt, see `splits.SplitAssigner`.

    Raises:
        UserError: a case is not usable, or a split has no positive or no negative slice.
    """
    wanted = _wanted(fingerprint)
    stood = read_stamp(folder / "origins.json") if read_stamp(folder / "fingerprint.json") == wanted else {}
    found = {name: origins.of(source) for name, source in listing.sources.items()}
    files = {name: source.files for name, source in listing.sources.items()}
    kept = {name for name in found if name in stood and (skip or not stood[name]["fault"])}
    same = {name for name in kept if origins.same(found[name], stood[name], files[name])}
    if stood and list(found) == list(stood) and len(same) == len(found):
        refreshed = {name: stood[name] | found[name] for name in found}
        if refreshed != stood:  # files were touched; the next run need not look into them
            write_stamp(folder / "origins.json", refreshed)
        return
    if stood:
        say(f"the data set has changed: {_some([name for name in {**found, **stood} if name not in same])}")
    home = folder.with_name(folder.name + ".parts")
    home.mkdir(parents=True, exist_ok=True)
    paths = {n: home / origins.key(found[n], repr((n, wanted))) for n in found if n not in same}
    stored = _Stored(folder, stood)
    tasks = [parts.Task(listing.sources[name], found[name], path) for name, path in paths.items()]
    made = iter(_made(tasks, skip))
    cases = {name: stored.part(name, found[name]) if name in same else next(made) for name in found}
    used = [part for part in cases.values() if not part.fault]
    if cases and not used:
        raise UserError(f"none of {len(cases)} scans can be used; the first: {next(iter(cases.values())).fault}")
    # Folds are dealt anew.
    index = index_of(used, SplitAssigner(fractions, **dealing), {} if dealing.get("folds") else stored.splits())
    check(listing, index)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _write_shards(
        unfinished, index, lambda name: stored.examples(name) if name in same else parts.examples(paths[name])
    )
    index.to_parquet(unfinished / "index.parquet", index=False)
    write_splits(unfinished / "splits.csv", index)
    described = {name: dict(part.origin, split=part.split, fault=part.fault) for name, part in cases.items()}
    write_stamp(unfinished / "origins.json", described)
    write_stamp(unfinished / "fingerprint.json", wanted)
    _take_place(unfinished, folder)
    shutil.rmtree(home)
    counts = ", ".join(f"{split} {(index['split'] == split).sum()}" for split in SPLITS)
    say(f"prepared {index['case'].nunique()} cases, {len(index)} slices: {counts}")


def _made(tasks: Sequence[parts.Task], skip: bool) -> list[Part]:
    """The parts of these tasks, in order.

    Raises:
        UserError: one cannot be used, and is not to be skipped.
    """
    found = []
    with contextlib.closing(parts.make_all(tasks)) as made, Progress("preparing", len(tasks)) as progress:
        for part in made:
            if part.fault and not skip:
                raise UserError(part.fault)
            found.append(part)
            progress.advance()
    return found


def left_out(folder: Path) -> dict[str, str]:
    """The cases that these records do not hold because they could not be read, and why."""
    return {name: origin["fault"] for name, origin in read_stamp(folder / "origins.json").items() if origin["fault"]}


def about(folder: Path) -> dict[str, Any]:
    """What a run says of its data: the cases that are left out, and what its records were made of.

    `records` is the same for records of the same cases, wherever these lie and whenever they were read.
    """
    cases = [
        (name, origin["said"], [found for _, found in origin["files"].values()], origin["fault"])
        for name, origin in read_stamp(folder / "origins.json").items()
    ]
    identity = hashlib.blake2b(json.dumps(cases).encode(), digest_size=16).hexdigest()
    return {"records": identity, "left_out": left_out(folder)}


class _Stored:
    """Cases of records that stand, of which others are made.

    Args:
        folder: of the records.
        known: what `origins.json` says there.
    """

    def __init__(self, folder: Path, known: Mapping[str, Any]):
        self._known = known
        self._rows = dict(iter(pd.read_parquet(folder / "index.parquet").groupby("case"))) if known else {}
        self._raw = {split: shards.raw(folder, split) for split in SPLITS} if known else {}

    def part(self, name: str, origin: origins.Origin) -> Part:
        known = self._known[name]
        if known["fault"]:
            return Part(origin, None, {}, known["fault"])
        rows = self._rows[name].drop(columns=["split", "record"])
        return Part(origin, known["split"], {column: list(values) for column, values in rows.items()})

    def splits(self) -> dict[str, str]:
        """Of each patient."""
        return {rows["patient"].iloc[0]: rows["split"].iloc[0] for rows in self._rows.values()}

    def examples(self, name: str) -> list[bytes]:
        rows = self._rows[name]
        return [self._raw[split][record] for split, record in zip(rows["split"], rows["record"], strict=True)]


def index_of(cases: Sequence[Part], assign: SplitAssigner, before: Mapping[str, str]) -> pd.DataFrame:
    """A row a slice: its split, its number there, and what is said of it.

    Args:
        cases: in their order.
        assign: gives a split to each.
        before: the split that a patient had in the records before, and keeps unless the data set gives it one.
    """
    in_split: Counter[str] = Counter()
    frames = []
    given = {part.rows["patient"][0]: part.split for part in cases if part.split}
    for part in cases:
        rows = pd.DataFrame(part.rows)
        patient = part.rows["patient"][0]
        known = part.split or given.get(patient) or before.get(patient)
        split = assign(_outline(part._replace(split=known)))
        rows.insert(0, "split", split)
        rows.insert(1, "record", np.arange(in_split[split], in_split[split] + len(rows)))
        in_split[split] += len(rows)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=EMPTY)


def check(listing: Listing, index: pd.DataFrame) -> None:
    """What is asked of all cases together.

    Raises:
        UserError: patients, identical slices or splits forbid to train on them.
    """
    listing.finish(dict(zip(index["case"], index["patient"], strict=True)))
    duplicates.check(index)
    check_splits(index)


def _outline(part: Part) -> Case:
    """The case without its pixels."""
    rows, number = part.rows, len(part.rows["case"])
    return Case(
        name=rows["case"][0],
        patient=rows["patient"][0],
        split=part.split,
        hu=np.zeros((0, 0, number), np.int16),
        mask=np.zeros((0, 0, number), np.uint16),
        labels=np.array([rows[label] for label in LABELS], np.int8).T,
        slices=np.array(rows["slice"]),
        axes=rows["axes"][0],
        spacing=tuple(rows[name][0] for name in SPACING),
    )


def _write_shards(folder: Path, index: pd.DataFrame, examples: Callable[[str], Sequence[bytes]]) -> None:
    """All records, case by case, each in its split."""
    writer = shards.Shards(folder, FEATURES, SPLITS)
    cases = index.drop_duplicates("case")
    with Progress("writing records", len(cases)) as progress:
        for name, split in zip(cases["case"], cases["split"], strict=True):
            for record in examples(name):
                writer.add(split, record)
            progress.advance()
    writer.close()


def _take_place(new: Path, folder: Path) -> None:
    """The new records take the place of those in the folder, in two steps, between which there are none."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _some(names: Sequence[str]) -> str:
    """How many cases, and the first of them by name."""
    shown = ", ".join(names[:5])
    return f"{len(names)} case{'s' * (len(names) > 1)} ({shown}{', ...' if len(names) > 5 else ''})"


def _wanted(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint with the layout of records, as JSON has it."""
    return json.loads(json.dumps(dict(fingerprint) | {"records": LAYOUT}))


def read_index(folder: Path, split: str) -> pd.DataFrame:
    """The rows of one split in record order, without pixels."""
    index = pd.read_parquet(folder / "index.parquet")
    return index[index["split"] == split].sort_values("record").reset_index(drop=True)


def heights(index: pd.DataFrame) -> Float64[np.ndarray, " n"]:
    """Where the slices of an index lie in their scans: 0 at the feet's end and 1 at the other."""
    return index["position"].to_numpy(np.float64)


def data_source(folder: Path, split: str) -> Any:
    """Random access to the records of one split: `source[i]` is a dict with the keys of `FEATURES`."""
    return tfds.builder_from_directory(str(folder)).as_data_source(split)
