"""Prepared cases, a file each, until the records are made of all of them: a killed preparation goes on from these.

A part is an array_record file. Its first record is JSON, what `Part` holds; the others are the case's records as the
data set will hold them.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from hemojax.data import duplicates, origins
from hemojax.data.case import Case, drawn_in
from hemojax.data.labels import LABELS
from hemojax.data.listing import Source
from hemojax.errors import UserError
from hemojax.files import replacing

SPACING = ("spacing_i", "spacing_j", "spacing_k")
"""Columns of the index: the distance of neighbouring voxels along the axes of the scan's array, mm, or NaN."""
COSINES = ("cosine_ij", "cosine_ik", "cosine_jk")
"""Columns of the index: see `Case.cosines`."""
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
"""What a record holds."""
SMALL = 2**25
"""Bytes of scans that this process prepares in the time that others need to start."""


Given, Made = TypeVar("Given"), TypeVar("Made")


class Part(NamedTuple):
    """A prepared case, without its records.

    Attributes:
        origin: what it was made of, see `origins`.
        split: that the data set gives it, or None.
        rows: columns of the index but split and record; none of a faulty case.
        fault: why it cannot be used; empty if it can.
    """

    origin: origins.Origin
    split: str | None
    rows: Mapping[str, Sequence[Any]]
    fault: str = ""


class Task(NamedTuple):
    """A case that is to be prepared: its source, its origin, and the file of the part."""

    source: Source
    origin: origins.Origin
    path: Path


def make(task: Task) -> Part:
    """Read a case and write its part, unless the file is there; a faulty case has none."""
    if task.path.exists():
        return read(task.path)
    files = task.source.files
    origin = origins.with_digests(task.origin, files)
    try:
        case = task.source.case()
    except UserError as error:
        return Part(origins.settled(origin, files), None, {}, str(error))
    part = Part(origins.settled(origin, files), case.split, rows(case))
    with replacing(task.path) as temporary:
        writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
        for record in (json.dumps(part).encode(), *_records(case)):
            writer.write(record)
        writer.close()
    return part


def make_all(tasks: Sequence[Task]) -> Generator[Part]:
    """`make` of each task, see `on_all_cores`."""
    missing = [task.origin["files"].values() for task in tasks if not task.path.exists()]
    return on_all_cores(make, tasks, sum(known[0] for files in missing for known, _ in files if known))


def on_all_cores(function: Callable[[Given], Made], items: Sequence[Given], size: int) -> Generator[Made]:
    """The function's value for each item, in order; on all cores that this process may use, if that is worth it.

    Args:
        function: other processes can be sent it.
        items: likewise.
        size: bytes that are read.

    Raises:
        UserError: a process was killed from outside.
    """
    cores = min(len(os.sched_getaffinity(0)), len(items))
    if cores < 2 or size < SMALL:
        yield from map(function, items)
        return
    # Not forked: this process has threads, and what they hold would never be released.
    pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _end_with_parent)
    try:
        yield from pool.map(function, items)
    except BrokenProcessPool:
        raise UserError(
            "a process that read scans was ended from outside, perhaps for want of memory; the same command goes on"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def read(path: Path) -> Part:
    """What a part's file says of the case."""
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        return Part(*json.loads(reader.read([0])[0]))


def examples(path: Path) -> list[bytes]:
    """The records of a part's file."""
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        return reader.read_all()[1:]


def rows(case: Case) -> dict[str, list[Any]]:
    """Columns of the index, of the case's slices."""
    found = []
    spacing = np.asarray(case.spacing, np.float32)
    told = duplicates.digests(case.hu)
    for n, height in enumerate(case.heights):
        found.append(
            _names(case, n)
            | {"position": float(height), "height": case.hu.shape[0], "width": case.hu.shape[1]}
            | dict(zip(SPACING, spacing.tolist(), strict=True))
            | dict(zip(COSINES, case.cosines, strict=True))
            | {"drawn": drawn_in(case.mask[..., n]), "digest": told[n]}
            | dict(zip(LABELS, case.labels[n].tolist(), strict=True))
        )
    return {name: [row[name] for row in found] for name in found[0]}


def _records(case: Case) -> Iterator[bytes]:
    """The serialised records of the case's slices."""
    spacing = np.asarray(case.spacing, np.float32)
    for n, labels in enumerate(case.labels):
        hu, drawn = (np.ascontiguousarray(volume[..., n]) for volume in (case.hu, case.mask))
        record = {"hu": hu, "mask": drawn, "labels": labels, "spacing": spacing, **_names(case, n)}
        yield FEATURES.serialize_example(record)


def _names(case: Case, n: int) -> dict[str, Any]:
    return {"case": case.name, "patient": case.patient, "slice": int(case.slices[n]), "axes": case.axes}


def _end_with_parent() -> None:
    """A process of the pool ends when the one that started it is killed, and leaves Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
