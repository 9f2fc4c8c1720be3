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
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

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
    """Read a case and write its part, unless the file is there; a faulty case has none.

    A reader's exception, whatever it is, is said of the scan that it met.
    """
    if task.path.exists():
        return read(task.path)
    origin = origins.with_digests(task.origin)
    try:
        case = task.source.read()
    except UserError as error:
        return Part(origins.settled(origin), None, {}, str(error))
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        file = next(iter(task.source.files), task.path)
        fault = f"{file}: cannot be read ({type(error).__name__}: {first})"
        return Part(origins.settled(origin), None, {}, fault)
    rows, records = _records(case)
    part = Part(origins.settled(origin), case.split, rows)
    with replacing(task.path) as temporary:
        writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
        for record in (json.dumps(part).encode(), *records):
            writer.write(record)
        writer.close()
    return part


def make_all(tasks: Sequence[Task]) -> Generator[Part]:
    """`make` of each task, in order; on all cores that this process may use, where that is worth their start.

    Raises:
        UserError: a process was killed from outside.
    """
    cores = min(len(os.sched_getaffinity(0)), len(tasks))
    missing = [task.origin["files"].values() for task in tasks if not task.path.exists()]
    size = sum(known[0] for files in missing for known, _ in files if known)
    if cores < 2 or size < SMALL:
        yield from map(make, tasks)
        return
    # Not forked: this process has threads, and what they hold would never be released.
    pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _end_with_parent)
    try:
        yield from pool.map(make, tasks)
    except BrokenProcessPool:
        raise UserError(
            "preparation: a process was ended from outside, perhaps for want of memory; the same command goes on"
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


def _records(case: Case) -> tuple[dict[str, list[Any]], list[bytes]]:
    """Columns of the index, and serialised records, of the case's slices."""
    rows, records = [], []
    spacing = np.asarray(case.spacing, np.float32)
    told = duplicates.digests(case.hu)
    for n, (number, height) in enumerate(zip(case.slices, case.heights, strict=True)):
        hu, drawn = (np.ascontiguousarray(volume[..., n]) for volume in (case.hu, case.mask))
        names = {"case": case.name, "patient": case.patient, "slice": int(number), "axes": case.axes}
        record = {"hu": hu, "mask": drawn, "labels": case.labels[n], "spacing": spacing, **names}
        records.append(FEATURES.serialize_example(record))
        rows.append(
            names
            | {"position": float(height), "height": hu.shape[0], "width": hu.shape[1]}
            | dict(zip(SPACING, spacing.tolist(), strict=True))
            | dict(zip(COSINES, case.cosines, strict=True))
            | {"drawn": drawn_in(drawn), "digest": told[n]}
            | dict(zip(LABELS, case.labels[n].tolist(), strict=True))
        )
    return {name: [row[name] for row in rows] for name in rows[0]}, records


def _end_with_parent() -> None:
    """A process of the pool ends when the one that started it is killed, and leaves Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
