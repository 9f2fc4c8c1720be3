"""Scans that nobody annotated: one at a time, in their own order, and one bad one never ends a batch.

What is found in a scan is made up here: `tests/end_to_end` has a network.
"""

import errno
import json
import os
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data.folders import save, volumes

from configs import smoke
from hemojax.errors import UserError
from hemojax.reporting import scan_files
from hemojax.tasks import explain

CHOICE = explain.Choice("gradcam", "stage3", 0.5)
CORNER = (slice(3, 7), slice(4, 10), 2)
"""Where the heat is, in the canonical order; the slice and the one above it are positive."""


def find(scan):
    logits = np.full((scan.hu.shape[2], 1), -2.0, np.float32)
    logits[2:4, 0] = 3, 1
    heat = np.zeros(scan.hu.shape, np.float32)
    heat[CORNER] = 0.75
    return explain.Found(logits, heat)


@pytest.fixture
def config(tmp_path, monkeypatch):
    run = SimpleNamespace(network=None, config=smoke.get_config())
    monkeypatch.setattr(explain, "stored", lambda workdir: run)
    monkeypatch.setattr(explain, "choose", lambda options, run: CHOICE)
    monkeypatch.setattr(explain.loop, "trained", lambda run: run)
    monkeypatch.setattr(explain, "sized", lambda cam, network, data: SimpleNamespace(batch=1, chunk=1))
    monkeypatch.setattr(explain, "build", lambda run, choice, batch, chunk: find)
    monkeypatch.setattr(scan_files, "montage", lambda *_, **__: None)
    monkeypatch.setattr(explain.figures, "write_figure", lambda path, figure: path.write_text("figure"))
    config = smoke.get_config()
    config.explain.scans = str(tmp_path / "scans")
    return config


@pytest.fixture
def head():
    return volumes(np.random.default_rng(0))[0]


def tables(workdir):
    folder = workdir / "explain"
    return (
        pd.read_csv(folder / "probabilities.csv"),
        pd.read_csv(folder / "boxes.csv"),
        json.loads((folder / "boxes.coco.json").read_text()),
        json.loads((folder / "explain.json").read_text()),
    )


@pytest.mark.parametrize("codes", ["LPS", "RAI", "PLS", "SLP", "AIR"])
def test_everything_is_given_back_in_the_order_of_the_file(tmp_path, config, head, codes):
    lps = nib.Nifti1Image(head, np.diag([-0.5, -0.5, 5, 1]))
    order = nib.orientations.ornt_transform(nib.io_orientation(lps.affine), nib.orientations.axcodes2ornt(codes))
    other = lps.as_reoriented(order)
    stored = nib.Nifti1Image(np.asanyarray(other.dataobj), None)
    stored.set_sform(other.affine, code=4)
    stored.set_qform(np.diag([1, 1, 1, 1]), code=3)  # what an old program left there
    stored.header.set_xyzt_units("mm", "sec")
    path = tmp_path / "scans" / "a.nii"
    path.parent.mkdir()
    nib.save(stored, path)
    explain.explain(config, tmp_path)
    scan = nib.load(path)
    probabilities, boxes, coco, _ = tables(tmp_path)
    mask, heat = (nib.load(tmp_path / "explain" / f"a_{kind}.nii.gz") for kind in ("mask", "heat"))
    for image in (mask, heat):
        for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "xyzt_units"):
            np.testing.assert_array_equal(image.header[field], scan.header[field])
        np.testing.assert_array_equal(image.header["pixdim"][:4], scan.header["pixdim"][:4])
        assert image.shape == scan.shape
    # The same place in the patient.
    drawn = np.argwhere(np.asanyarray(mask.dataobj))
    wanted = np.zeros(head.shape, bool)
    wanted[CORNER] = True
    places = (
        nib.affines.apply_affine(affine, at) for affine, at in ((mask.affine, drawn), (lps.affine, np.argwhere(wanted)))
    )
    one, both = (sorted(map(tuple, np.round(place, 4) + 0.0)) for place in places)
    assert one == both
    # Slices and boxes as the file counts them.
    across = max(codes.find("S"), codes.find("I"))
    own = np.moveaxis(np.asanyarray(mask.dataobj), across, -1)
    row = boxes.iloc[0]
    inside = np.zeros(own.shape, np.uint8)
    inside[row.i0 : row.i1, row.j0 : row.j1, row.slice] = 1
    np.testing.assert_array_equal(inside, own)
    positive = probabilities.loc[probabilities["any"] > 0.5, "slice"].tolist()
    assert positive == ([0, 1] if "I" in codes else [2, 3])
    assert probabilities["slice"].tolist() == [0, 1, 2, 3]
    assert (coco["images"][0]["height"], coco["images"][0]["width"]) == own.shape[:2]


def test_one_bad_scan_never_ends_a_batch(tmp_path, config, head, monkeypatch, caplog):
    scans = tmp_path / "scans"
    save(scans / "a.nii.gz", head)
    save(scans / "b.nii.gz", (head + 1024).astype(np.uint16))
    (scans / "c.nii.gz").write_bytes((scans / "a.nii.gz").read_bytes()[:400])
    no_grid = nib.Nifti1Image(head, None)
    no_grid.set_sform(np.diag([0, 0, 0, 1]), code=1, update_affine=False)
    nib.save(no_grid, scans / "d.nii.gz")
    save(scans / "e.nii.gz", head)
    (scans / "f.nii.gz").mkdir()
    save(scans / "g.nii.gz", head)

    def sometimes(scan):
        if scan.name == "e":
            raise MemoryError("no room on the device\nand a long text")
        return find(scan)

    monkeypatch.setattr(explain, "build", lambda run, choice, batch, chunk: sometimes)
    with pytest.raises(UserError, match=r"^5 of 7 scans could not be explained: b, c, d, e, f; ") as caught:
        explain.explain(config, tmp_path)
    assert "\n" not in str(caught.value)
    probabilities, boxes, _, chosen = tables(tmp_path)
    assert probabilities["scan"].tolist() == ["a"] * 4 + ["g"] * 4
    assert boxes["scan"].tolist() == ["a", "g"]
    assert list(chosen["failed"]) == ["b", "c", "d", "e", "f"]
    for name, reason in chosen["failed"].items():
        assert reason.startswith(f"{name}.nii.gz: ")
        assert "\n" not in reason
    assert chosen["failed"]["e"] == "e.nii.gz: could not be explained (MemoryError: no room on the device)"


def test_a_map_of_zeros_is_said(tmp_path, config, head, capsys):
    lps = nib.Nifti1Image(head, np.diag([-0.5, -0.5, 5, 1]))
    for name, codes in (("a", "LPS"), ("b", "LPI")):
        order = nib.orientations.ornt_transform(nib.io_orientation(lps.affine), nib.orientations.axcodes2ornt(codes))
        (tmp_path / "scans").mkdir(exist_ok=True)
        nib.save(lps.as_reoriented(order), tmp_path / "scans" / f"{name}.nii.gz")
    explain.explain(config, tmp_path)
    probabilities = tables(tmp_path)[0]
    # Of the two positive slices, the one nearer to the head has no heat.
    assert probabilities["map_is_zero"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert "a: 2 of 4 slices positive, 1 boxes; the map of 1 of them is zero" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["logits", "heat"])
def test_what_is_not_finite_is_said_of_its_scan(tmp_path, config, head, monkeypatch, what):
    for name in "ab":
        save(tmp_path / "scans" / f"{name}.nii.gz", head)

    def broken(scan):
        found = find(scan)
        if scan.name == "a":
            getattr(found, what)[..., -1 if what == "heat" else 0] = np.nan
        return found

    monkeypatch.setattr(explain, "build", lambda run, choice, batch, chunk: broken)
    with pytest.raises(UserError, match="1 of 2 scans could not be explained: a; "):
        explain.explain(config, tmp_path)
    probabilities, _, _, chosen = tables(tmp_path)
    assert set(probabilities["scan"]) == {"b"}
    slices = "3" if what == "heat" else "0, 1, 2, 3"
    name = "maps" if what == "heat" else "logits"
    assert chosen["failed"]["a"] == (
        f"a.nii.gz: the network's {name} are not finite in slices {slices}; look at the scan"
    )


def test_what_was_finished_is_in_the_tables_when_a_run_is_killed(tmp_path, config, head, monkeypatch):
    for name in "abc":
        save(tmp_path / "scans" / f"{name}.nii.gz", head)

    def killed(scan):
        if scan.name == "c":
            raise KeyboardInterrupt
        return find(scan)

    monkeypatch.setattr(explain, "build", lambda run, choice, batch, chunk: killed)
    with pytest.raises(KeyboardInterrupt):
        explain.explain(config, tmp_path)
    probabilities, boxes, coco, _ = tables(tmp_path)
    assert set(probabilities["scan"]) == set(boxes["scan"]) == {image["scan"] for image in coco["images"]} == {"a", "b"}


def test_a_full_disk_ends_it(tmp_path, config, head, monkeypatch):
    for name in "ab":
        save(tmp_path / "scans" / f"{name}.nii.gz", head)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scan_files.nib, "save", full)
    with pytest.raises(OSError, match="No space left on device"):  # of which the command makes a line
        explain.explain(config, tmp_path)


def test_where_nothing_can_be_written_no_scan_is_read(tmp_path, config, head):
    save(tmp_path / "scans" / "a.nii.gz", head)
    (tmp_path / "explain").write_text("a file")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):  # of which the command makes a line
        explain.explain(config, tmp_path)
