import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hemojax.errors import UserError
from hemojax.files import check_room, home, only_writer, refusal, refuse_address, replacing

WRITER = """
import sys
from pathlib import Path
from hemojax.files import only_writer
with only_writer(Path(sys.argv[1])):
    print("writes", flush=True)
    sys.stdin.read()
"""


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        assert temporary.parent == path.parent
        assert temporary.name.endswith("scan.nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "value", ["gs://bucket/runs", "s3://bucket", "az://a/b", "file:///runs", "https://a/b", "gs:/made/by/pathlib"]
)
def test_an_address_is_refused_by_its_option(value):
    with pytest.raises(UserError, match=f"^--workdir={value}: an address is no folder"):
        refuse_address("workdir", value)


@pytest.mark.parametrize(
    "value", [None, "", 3, ("gs://",), "runs/mine", "/mnt/gs:bucket", "C:/runs", "imagenet", "a//b"]
)
def test_paths_and_other_values_are_not_addresses(value):
    refuse_address("workdir", value)


def test_a_folder_has_one_writer_and_a_killed_one_is_none(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"writes\n"
        with pytest.raises(UserError, match=rf"{folder}: another run writes there \(process {other.pid} on "):
            only_writer(folder).__enter__()
        other.kill()
        other.wait()
        with only_writer(folder):
            pass


def test_what_a_disk_refuses_is_said_in_a_line(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/mine/maps")
    assert refusal(full, tmp_path).startswith("/runs/mine/maps: No space left on device; make room there")
    nameless = OSError(errno.EROFS, os.strerror(errno.EROFS))
    assert refusal(nameless, tmp_path).startswith(f"{tmp_path}: Read-only file system; see to its rights")
    library = ValueError('Error writing "params": No space left on device [source locations]')
    outer = RuntimeError("a checkpoint was not written")
    outer.__cause__ = library
    assert refusal(outer, tmp_path).startswith('Error writing "params": No space left on device')
    assert refusal(KeyError("no fault of the disk"), tmp_path) is None
    assert refusal(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "forgotten"), tmp_path) is None


def test_what_there_is_no_room_for_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3_000_000))
    check_room(tmp_path, 3_000_000, "a checkpoint")
    with pytest.raises(UserError, match="no room for a checkpoint of 4 MB, 3 MB are free; make room"):
        check_room(tmp_path, 4_000_000, "a checkpoint")


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert home("~/scans") == "/home/ann/scans"
    assert home("~") == "/home/ann"
    assert [home(value) for value in ("", "a/~b", "/x/~", "runs")] == ["", "a/~b", "/x/~", "runs"]
    assert Path(home("~no-such-user/x")) == Path("~no-such-user/x")
