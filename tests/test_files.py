import errno
import os
from pathlib import Path

import pytest

from hemojax.errors import UserError
from hemojax.files import home, refusal, refuse_address, replacing


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_what_a_disk_refuses_is_a_line(tmp_path, code):
    path = tmp_path / "table.csv"
    line = f"^{path}: {os.strerror(code)}; make room or give rights"
    with pytest.raises(UserError, match=line) as caught, replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise OSError(code, os.strerror(code))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be_is_a_line(tmp_path):
    (tmp_path / "work").write_text("")
    with (
        pytest.raises(UserError, match=r"work/results/run.json: Not a directory"),
        replacing(tmp_path / "work" / "results" / "run.json"),
    ):
        pass


def test_other_errors_stay_what_they_are():
    other = OSError(errno.ECONNRESET, "reset")
    assert refusal(other) is other
    written = RuntimeError("write() failed: No space left on device; writing /runs/records-00000\nat byte 65536")
    line = "write() failed: No space left on device; writing /runs/records-00000 at byte 65536; make room or give"
    assert str(refusal(written)).startswith(line)
    assert str(refusal(PermissionError(errno.EACCES, "Permission denied", "/scans"))).startswith("/scans: Permission")


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert home("~/scans") == "/home/ann/scans"
    assert home("~") == "/home/ann"
    assert [home(value) for value in ("", "a/~b", "/x/~", "runs")] == ["", "a/~b", "/x/~", "runs"]
    assert Path(home("~no-such-user/x")) == Path("~no-such-user/x")
