"""Files that mean harm, or only look like it: refused in one line, soon and in little memory, or read as they are."""

import contextlib
import gzip
import io
import os
import pickle
import resource
import struct

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data.folders import generic, hemorica, save, volumes

from hemojax.data import census, records, volume
from hemojax.data.case import CaseError
from hemojax.data.datasets import LAYOUTS
from hemojax.data.datasets import hemorica as hemorica_
from hemojax.data.labels import BHSD_SUBTYPES
from hemojax.data.listing import Listing, Source
from hemojax.errors import UserError, one_line
from hemojax.progress import say


def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refused(function, *given):
    """The line in which something is refused, without much memory."""
    before = peak()
    with pytest.raises(UserError) as caught:
        function(*given)
    assert peak() - before < 1e8
    assert "\n" not in str(caught.value)
    return str(caught.value)


def claiming(shape, kind, content=b""):
    """A NIfTI file whose header claims an array that is not there."""
    header = nib.Nifti1Image(np.zeros((1, 1, 1), kind), np.diag([-0.5, 0.5, 5, 1])).to_bytes()[:352]
    return header[:40] + struct.pack("<8h", 3, *shape, 1, 1, 1, 1) + header[56:] + content


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("shape", "kind", "reason"),
    [
        (
            (5000, 5000, 2000),
            np.int16,
            "its header claims 5000 x 5000 x 2000 voxels, more than a head CT has",
        ),  # 100 GB
        ((1024, 1024, 600), np.float64, "more than a head CT has"),
        ((512, 512, 400), np.int16, "its size is less"),
    ],
)
def test_a_header_that_claims_more_than_there_is(tmp_path, shape, kind, reason, packed):
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    content = claiming(shape, kind, bytes(10**6))
    path.write_bytes(gzip.compress(content) if packed else content)
    for read in (volume.read, volume.order):
        assert reason in refused(read, path)


def test_what_a_gzip_file_holds_behind_its_array_is_not_unpacked(tmp_path):
    scan = nib.Nifti1Image(volumes(np.random.default_rng(0))[0], np.diag([-0.5, 0.5, 5, 1])).to_bytes()
    bomb = gzip.compress(scan) + b"".join([gzip.compress(bytes(2**24))] * 20)
    (tmp_path / "a.nii.gz").write_bytes(bomb)
    before = peak()
    with pytest.raises(CaseError, match="holds much more than the 24 x 24 x 4 voxels of its header"):
        volume.read(tmp_path / "a.nii.gz")
    assert peak() - before < 1e8


class Attack:
    """What would run, if a pickle was read."""

    def __reduce__(self):
        return os.mkdir, (os.environ["ATTACKED"],)


def test_slices_that_are_no_plain_arrays(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTACKED", str(tmp_path / "attacked"))
    path, zipped = tmp_path / "a_0.npy", io.BytesIO()
    np.savez(zipped, a=np.zeros(3))
    with path.open("wb") as file:
        np.save(file, np.array([[Attack()]], object), allow_pickle=True)
    contents = [path.read_bytes(), pickle.dumps(Attack()), zipped.getvalue()]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**4)})
    contents += [header.getvalue(), header.getvalue().replace(b"(1000000", b"((((((((")]
    contents += [b"\x93NUMPY\x01\x00v\x00{'descr': (" + b" " * 100]
    for content in contents:
        path.write_bytes(content)
        assert "cannot be read, copy it again" in refused(hemorica_.read_slice, path)
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\p0", "images/../../p1x", "\x00p0x", "p0\nx"])
def test_names_in_a_table_never_lead_out_of_the_folder(tmp_path, name):
    root = generic(tmp_path / "set", cases=2)
    (tmp_path / "passwd.nii.gz").write_bytes(b"")
    table = pd.DataFrame({"patient": [name], "slice": 0, "any": 1})
    table.to_csv(root / "slices.csv", index=False)
    given = {case.name: len(case.labels) for case in _readable(LAYOUTS["generic"], root)}
    assert given in ({}, {"p0": 4, "p1": 4})
    rows = {"patient_name": [name], "slice_number": 3, "hemorrhage_binary": 1}
    other = hemorica(tmp_path / "other")
    pd.DataFrame(rows).to_csv(other / "test.csv", index=False)
    assert _readable(LAYOUTS["hemorica"], other) == []


def _readable(layout, root):
    """The cases of a listing, or none where it is refused."""
    with contextlib.suppress(UserError):
        return list(layout(root, BHSD_SUBTYPES))
    return []


@pytest.mark.parametrize(
    "name", ["../p0", "a/b", "a\\b", "..", " ", "a\nb", "a\x1b[31m", b"a\xff".decode(errors="surrogateescape")]
)
def test_what_is_no_name_for_a_case(tmp_path, name):
    source = Source((tmp_path / "a.nii.gz",), "", lambda: None)
    line = refused(Listing, {name: source})
    assert "is no name for a case" in line
    line.encode()


def test_links_that_lead_back_or_nowhere(tmp_path):
    root = generic(tmp_path / "set", cases=3)
    (root / "images" / "again").symlink_to(root)
    (root / "slices.csv").symlink_to(root / "slices.csv")
    assert "slices.csv: cannot be read (Too many levels of symbolic links)" in refused(
        LAYOUTS["generic"], root, BHSD_SUBTYPES
    )
    (root / "slices.csv").unlink()
    (root / "images" / "p3.nii.gz").symlink_to(root / "images" / "p3.nii.gz")
    assert "p3.nii.gz: a folder, or a link to nothing" in refused(LAYOUTS["generic"], root, BHSD_SUBTYPES)
    (root / "images" / "p3.nii.gz").unlink()
    assert len(list(LAYOUTS["generic"](root, BHSD_SUBTYPES))) == 3
    (root / "masks").rename(tmp_path / "masks")
    (root / "masks").symlink_to(root / "masks")
    assert "masks: is no folder, or a link to nowhere" in refused(LAYOUTS["generic"], root, BHSD_SUBTYPES)


NAMES = ("<img src=x onerror=alert(1)>", "an n 1", "Ёлка", "頭部", "$x^$", "a|b", "[red]", "=1+1", "{x}", "é")


def test_odd_names_of_cases_arrive_as_they_are(tmp_path):
    root, folder = tmp_path / "set", tmp_path / "records"
    rng = np.random.default_rng(0)
    for n, name in enumerate(NAMES):
        hu, mask = volumes(rng)
        save(root / "images" / f"{name}.nii.gz", hu)
        save(root / "masks" / f"{name}.nii.gz", mask * (n % 2))
    records.prepare(folder, LAYOUTS["generic"](root, BHSD_SUBTYPES), {"train": 0.6, "validation": 0.2, "test": 0.2}, {})
    assert set(pd.read_parquet(folder / "index.parquet")["case"]) == set(NAMES)
    assert set(pd.read_csv(folder / "splits.csv")["case"]) == set(NAMES)
    names = {record["case"].decode() for split in ("train", "test") for record in records.data_source(folder, split)}
    assert names < set(NAMES)


def test_every_line_is_one_line(capsys):
    assert str(UserError("a\nb\x1b[2J\u202ec\u2028d \ud800")) == r"a\nb\x1b[2J\u202ec\u2028d \ud800"
    assert one_line("naïve 頭部 a b") == "naïve 頭部 a b"
    say("[red]a\nb[/red]")
    assert capsys.readouterr().out == "[red]a\\nb[/red]\n"
    error = pickle.loads(pickle.dumps(CaseError(census.Path("a\nb"), "odd")))
    assert str(error) == r"a\nb: odd"
