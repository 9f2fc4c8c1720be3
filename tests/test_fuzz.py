"""A few damaged files for each reader; `benchmarks/fuzz_readers.py` gives them many more."""

import random

import pytest

from benchmarks import fuzz_readers


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return fuzz_readers.readers(tmp_path_factory.mktemp("valid"))


NAMES = (
    "nifti",
    "nifti.gz",
    "slices.csv",
    "boxes.csv",
    "patients.csv",
    "npy",
    "pth",
    "pth, older",
    "safetensors",
    "dicom",
)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_end_in_a_line(readers, tmp_path, name):
    reader = readers[name]
    for seed in reader.seeds:
        (tmp_path / reader.name).write_bytes(seed)
        reader.read(tmp_path / reader.name)
    found = fuzz_readers.fuzz(reader, tmp_path / reader.name, random.Random(name), iter(range(30)))
    assert found.failed == []
    assert 0 < found.refused < 30


def test_what_fails_is_told(tmp_path):
    def read(path):
        content = path.read_bytes()
        if content[0] % 3 == 0:
            raise KeyError("a\nb")
        while content[0] % 3 == 1:
            pass

    reader = fuzz_readers.Reader("file", [b"\0\1\2"], read, lambda rng, content, others: rng.randbytes(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz_readers, "SECONDS", 0.02)
        found = fuzz_readers.fuzz(reader, tmp_path / "file", random.Random(0), iter(range(20)))
    assert {line.split(": ")[1] for line in found.failed} == {"KeyError", "takes more than 0.02 s"}
    assert len(list(tmp_path.glob("failed-*-file"))) == len(found.failed) > 3


def test_every_reader_is_tried(readers):
    assert set(NAMES) == set(readers)
