"""The layouts of published data sets give their cases, labels and patients; auto tells them apart."""

import pickle
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data import dicom_folders, folders, published
from data.published import BHSD, PHYSIONET

from hemojax.data.case import CaseError
from hemojax.data.datasets import LAYOUTS, recognition
from hemojax.data.labels import BHSD_SUBTYPES, LABELS
from hemojax.data.splits import SplitAssigner
from hemojax.errors import UserError

MAKERS = {name: getattr(published, name) for name in ("bhsd", "physionet", "instance", "seg_cq500", "rsna")}
MAKERS |= {"generic": folders.generic, "hemorica": folders.hemorica}


def read(layout, root):
    return list(LAYOUTS[layout](root, BHSD_SUBTYPES))


def labels(case):
    """The labels that are known of any slice, as text a slice each: "any IVH", "", or "?" for not known."""
    words = ["?" if row[0] < 0 else " ".join(np.array(LABELS)[row == 1]) for row in case.labels]
    return dict(zip(case.slices.tolist(), words, strict=True))


def test_bhsd(tmp_path):
    cases = read("bhsd", published.bhsd(tmp_path))
    assert [case.name for case in cases] == list(BHSD)
    assert [case.patient for case in cases] == ["ID_02b882cc", "ID_2db7ee14", "ID_2db7ee14"]
    assert [labels(case)[1] for case in cases] == ["any IPH", "any IVH", "any SAH"]
    assert list(labels(cases[0]).values()) == ["", "any IPH", "any IPH", ""]
    assign = SplitAssigner({"train": 0.4, "validation": 0.3, "test": 0.3})
    first, second, third = (assign(case) for case in cases)
    assert first != second == third
    # Where the affines disagree the voxels correspond.
    for case, integer in zip(cases, (2, 3, 4), strict=True):
        stored = np.asanyarray(nib.load(tmp_path / "label_192" / "images" / f"{case.name}.nii.gz").dataobj)
        blood = stored[5:9, 6:12, 1]
        np.testing.assert_array_equal(np.sort(case.hu[..., 1][case.mask[..., 1] == integer]), np.sort(blood.ravel()))
    assert [case.name for case in read("bhsd", tmp_path / "label_192")] == list(BHSD)


def test_bhsd_of_another_shape(tmp_path):
    masks = published.bhsd(tmp_path) / "label_192" / "ground truths"
    folders.save(masks / f"{BHSD[1]}.nii.gz", np.zeros((24, 24, 5), np.uint8))
    with pytest.raises(CaseError, match=rf"ground truths/{BHSD[1]}.* 24 x 24 x 5 is not the scan's 24 x 24 x 4"):
        read("bhsd", tmp_path)
    shutil.rmtree(masks)
    with pytest.raises(
        CaseError, match="nor in label_192 there are images and ground truths; there are __MACOSX, label"
    ):
        read("bhsd", tmp_path)


def test_physionet(tmp_path):
    first, second = read("physionet", published.physionet(tmp_path))
    assert (first.name, first.patient, second.name) == ("049", "049", "066")
    assert labels(first) == {0: "", 1: "any IVH", 2: "any IVH", 3: ""}
    assert labels(second) == dict.fromkeys(range(4), "")
    assert (first.labels >= 0).all()
    assert np.unique(first.mask).tolist() == [0, 1]
    assert first.mask.any(axis=(0, 1)).tolist() == [False, True, True, False]


def test_physionet_of_a_part(tmp_path, capsys):
    table = pd.read_csv(published.physionet(tmp_path) / PHYSIONET)
    table[table["PatientNumber"] == 66].to_csv(tmp_path / PHYSIONET, index=False)
    assert labels(read("physionet", tmp_path)[0]) == {0: "", 1: "any", 2: "any", 3: ""}
    assert "1 of 2 scans have no row: 049" in capsys.readouterr().out
    (tmp_path / "ct_scans" / "066.nii").unlink()
    (tmp_path / "masks" / "066.nii").unlink()
    with pytest.raises(CaseError, match="1 patients match no scan: '066'"):
        read("physionet", tmp_path)


def test_physionet_counted_from_0(tmp_path):
    table = pd.read_csv(published.physionet(tmp_path) / PHYSIONET)
    table.assign(SliceNumber=table["SliceNumber"] - 1).to_csv(tmp_path / PHYSIONET, index=False)
    with pytest.raises(CaseError, match="line 2: 049 has slices 1 to 4, not a slice 0"):
        read("physionet", tmp_path)
    table.assign(SliceNumber=table["SliceNumber"] % 4 + 1).to_csv(tmp_path / PHYSIONET, index=False)
    with pytest.raises(CaseError, match=rf"{PHYSIONET}: the table and the masks contradict .* seems to count slices"):
        read("physionet", tmp_path)


def test_instance(tmp_path):
    first, second = read("instance", published.instance(tmp_path))
    assert (first.name, second.name) == ("001", "002")
    assert labels(first) == {0: "", 1: "any", 2: "any", 3: ""}
    assert (first.labels[:, 1:] == -1).all()  # 1 is not epidural here
    label = tmp_path / "train_2" / "label" / "001.nii.gz"
    folders.save(label, np.asanyarray(nib.load(label).dataobj) * np.arange(24, dtype=np.uint8)[:, None, None])
    with pytest.raises(CaseError, match=r"label/001\.nii\.gz: holds 0, 5, 6, 7, 8; 0 and one other value"):
        read("instance", tmp_path)


@pytest.mark.parametrize("value", [0.004, np.nan, -1.0, 1e3])
def test_masks_of_two_values(tmp_path, value):
    label = published.instance(tmp_path) / "train_2" / "label" / "001.nii.gz"
    drawn = np.asanyarray(nib.load(label).dataobj) > 0
    folders.save(label, np.where(drawn, 255.0, 0.0))
    assert read("instance", tmp_path)[0].mask.sum() == drawn.sum()
    folders.save(label, np.where(drawn, 255.0, 0.0) + np.eye(24)[..., None] * value)
    with pytest.raises(CaseError, match="0 and one other value were expected"):
        read("instance", tmp_path)
    colours = np.zeros(drawn.shape, [(name, np.uint8) for name in "RGB"])
    folders.save(label, colours)
    with pytest.raises(CaseError, match="is in colour or no picture"):
        read("instance", tmp_path)


def test_seg_cq500(tmp_path, capsys):
    first, second = read("seg_cq500", published.seg_cq500(tmp_path))
    assert (first.name, second.name) == ("CQ500-CT-20", "CQ500-CT-243")
    assert labels(second) == {0: "", 1: "any", 2: "any", 3: ""}
    assert second.cosines[2] != 0
    assert "info.csv: 1 folders stand in no row and are not used: CQ500-CT-61" in capsys.readouterr().out
    home = tmp_path / "Seg-CQ500" / "data" / "volumes"
    (home / "CQ500-CT-20" / "ICH_mask.nii.gz").unlink()
    with pytest.raises(CaseError, match=r"info\.csv: line 2: CQ500-CT-20/ICH_mask\.nii\.gz is not there"):
        read("seg_cq500", tmp_path)
    (home / "info.csv").write_text("name,CT_fn,mask_fn\n../volumes/CQ500-CT-20,CT.nii,CT.nii\n")
    with pytest.raises(CaseError, match="is no name of a folder"):
        read("seg_cq500", home)


def test_rsna(tmp_path, capsys):
    first, second = read("rsna", published.rsna(tmp_path))
    assert (first.name, second.name) == ("ID_0c1", "ID_0c2")
    assert first.patient == second.patient == "ID_eeaf99e7"
    assert labels(first) == {0: "", 1: "", 2: "any SDH", 3: ""}
    assert labels(second) == dict.fromkeys(range(4), "")
    np.testing.assert_array_equal(first.hu, dicom_folders.hu(4).transpose(2, 1, 0))
    np.testing.assert_allclose(first.spacing, (0.5, 0.6, 5.0))
    assert not first.mask.any()
    assert "stage_2_train.csv: 6 rows stand there twice and count once" in capsys.readouterr().out


def test_rsna_slices_that_cannot_be_used(tmp_path, capsys):
    images = published.rsna(tmp_path) / "stage_2_train"
    values = dicom_folders.hu(4)
    tags = {"StudyInstanceUID": "ID_0c1", "SeriesInstanceUID": "ID_aa01", "PatientID": "ID_eeaf99e7"}
    published.rsna_image(images / "ID_ab011.dcm", values[0], number=0, signed=False, **tags)
    whole = (images / "ID_ab010.dcm").read_bytes()
    (images / "ID_ab010.dcm").write_bytes(whole[:-20])  # the second of the first study
    (images / "ID_ab021.dcm").unlink()
    published.rsna_image(images / "ID_ff00.dcm", values[0], number=0, **tags)
    first, second = read("rsna", tmp_path)
    assert labels(first) == {0: "", 1: "any SDH", 2: ""}
    np.testing.assert_array_equal(first.hu, values[[0, 2, 3]].transpose(2, 1, 0))
    assert np.isnan(first.spacing[2])  # a slice is missing between
    assert len(second.slices) == 3
    said = capsys.readouterr().out
    assert "ID_0c1: 1 slices hold signed values that their headers call unsigned; they are read as signed" in said
    assert "1 images are left out (is cut off: it is smaller than its pixels; copy it again): ID_ab010.dcm" in said
    assert "1 images have no row and are left out: ID_ff00" in said
    assert "1 of 8 images are not in stage_2_train" in said
    table = (tmp_path / "stage_2_train.csv").read_text()
    (tmp_path / "stage_2_train.csv").write_text(table.replace("ID_ab023_any,0\n", ""))
    assert len(read("rsna", tmp_path)[1].slices) == 2
    assert "of 1 images it is not known whether they bleed, they are left out: ID_ab023" in capsys.readouterr().out


def test_rsna_names_nobody(tmp_path, capsys):
    images, values = published.rsna(tmp_path) / "stage_2_train", dicom_folders.hu(4)
    tags = {"StudyInstanceUID": "ID_0c1", "SeriesInstanceUID": "ID_aa01", "PatientID": "Plantagenet"}
    for at in range(4):
        published.rsna_image(images / f"ID_ab01{at}.dcm", values[at], number=at, **tags)
    with pytest.raises(
        CaseError, match=r"\.dcm: its PatientID is none of RSNA's, which begin with ID_; use the layout"
    ):
        read("rsna", tmp_path)
    published.rsna_image(
        images / "ID_ab010.dcm", values[0], number=0, **(tags | {"StudyInstanceUID": "../Plantagenet"})
    )
    list(LAYOUTS["rsna"](tmp_path, BHSD_SUBTYPES).sources)
    said = capsys.readouterr().out
    assert "1 images are left out (its study or series is none of RSNA's, which begin with ID_): ID_ab010.dcm" in said
    assert "Plantagenet" not in said


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("ID_ab011_any,0.5", "line 56: 'ID_ab011_any,0.5' is not ID_<image>_<label> and 0 or 1"),
        ("ID_ab011_chronic,1", "line 56: 'ID_ab011_chronic,1' is not"),
        ("ID_ab011_any,1", "line 56: contradicts another row on any of ID_ab011"),
    ],
)
def test_rsna_faults_of_the_table(tmp_path, row, line):
    with (published.rsna(tmp_path) / "stage_2_train.csv").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(CaseError, match=line):
        read("rsna", tmp_path)


@pytest.mark.parametrize("name", ["bhsd", "physionet", "instance", "seg_cq500", "rsna"])
def test_other_processes_can_read_a_case(tmp_path, name):
    source = next(iter(LAYOUTS[name](MAKERS[name](tmp_path), BHSD_SUBTYPES).sources.values()))
    again = pickle.loads(pickle.dumps(source.read))()
    np.testing.assert_array_equal(again.hu, source.read().hu)
    assert all(path.is_file() for path in source.files)


def dicom(root):
    dicom_folders.series(root / "images" / "ann", dicom_folders.hu())
    return root


@pytest.mark.parametrize("name", [*MAKERS, "dicom"])
def test_auto_recognises(tmp_path, capsys, name):
    (MAKERS | {"dicom": dicom})[name](tmp_path)
    assert recognition.recognised(tmp_path) == name
    assert f"{tmp_path}: the layout is {name}: " in capsys.readouterr().out


def test_auto_in_doubt(tmp_path):
    (tmp_path / "here" / "scans").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"its layout is not known; there are scans; name it: --config\.data\.layout=ge"
    ):
        recognition.recognised(tmp_path / "here")
    folders.generic(tmp_path / "here", cases=1)
    with pytest.raises(UserError, match=r"there are here; name the folder here in it as --config\.data\.root"):
        recognition.recognised(tmp_path)
    published.instance(tmp_path / "here")
    with pytest.raises(
        UserError, match=r"may have several layouts: images holds NIfTI files \(generic\); data and label"
    ):
        recognition.recognised(tmp_path / "here")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        recognition.recognised(tmp_path / "nowhere")


def test_every_layout_has_signs_and_stands_in_the_docs_and_the_config():
    root = Path(__file__).parents[2]
    assert recognition.SIGNS.keys() == LAYOUTS.keys()
    for name in (*LAYOUTS, recognition.AUTO, "phantom"):
        assert f"| `{name}` |" in (root / "docs" / "data.md").read_text()
        assert re.search(rf"# .*\b{name}\b.*\n    data\.layout", (root / "hemojax" / "config.py").read_text())
