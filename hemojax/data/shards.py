"""Serialised records of several splits as a TFDS data set of array_record files."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

LENGTH = 2000
"""Records of a file."""


class Shards:
    """Writes records, split by split in their order; without `close` there is no data set.

    Args:
        folder: where they go.
        features: of the records.
        splits: their names.
    """

    def __init__(self, folder: Path, features: tfds.features.FeaturesDict, splits: Sequence[str]):
        identity = tfds.core.dataset_info.DatasetIdentity(
            name="slices", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="hemojax"
        )
        about = "Head-CT slices with their masks."
        self._info = tfds.core.DatasetInfo(builder=identity, features=features, description=about)
        self._info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
        self._folder = folder
        self._templates = {
            split: tfds.core.ShardedFileTemplate(
                dataset_name="slices",
                data_dir=folder,
                split=split,
                filetype_suffix="array_record",
                template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
            )
            for split in splits
        }
        self._lengths: dict[str, list[int]] = {split: [] for split in splits}
        self._bytes = dict.fromkeys(splits, 0)
        self._open: dict[str, ArrayRecordWriter] = {}

    def add(self, split: str, record: bytes) -> None:
        """One record more."""
        lengths = self._lengths[split]
        if not lengths or lengths[-1] == LENGTH:
            self._close(split)
            path = self._templates[split].sharded_filepath(shard_index=len(lengths), num_shards=None)
            self._open[split] = ArrayRecordWriter(str(path), "group_size:1")
            lengths.append(0)
        self._open[split].write(record)
        lengths[-1] += 1
        self._bytes[split] += len(record)

    def close(self) -> None:
        """Finish all files, and describe them.

        Raises:
            OSError: a file does not hold what was written to it.
        """
        for split in self._lengths:
            self._close(split)
            if self._lengths[split] and len(raw(self._folder, split)) != sum(self._lengths[split]):
                raise OSError(f"{self._folder}: records of the split {split} are lost; is the disk full?")
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=self._bytes[split],
                filename_template=self._templates[split],
            )
            for split, lengths in self._lengths.items()
        ]
        self._info.set_splits(tfds.core.splits.SplitDict(infos))
        self._info.write_to_directory(self._folder)

    def _close(self, split: str) -> None:
        if split in self._open:
            self._open.pop(split).close()


def raw(folder: Path, split: str) -> ArrayRecordDataSource:
    """The serialised records of a split, by number."""
    return ArrayRecordDataSource(sorted(map(str, folder.glob(f"slices-{split}.array_record-*"))))
