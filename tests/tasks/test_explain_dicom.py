"""What `explain` does with a folder of DICOM, with a network that finds the brightest pixels of every other slice."""

import gzip
import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from data import dicom_folders, published

from configs import smoke
from hemojax.data import dicom
from hemojax.errors import UserError
from hemojax.reporting import dicom_files
from hemojax.run import Run, TrainedRun, create_network
from hemojax.tasks import explain

HU = dicom_folders.hu(4)


@pytest.fixture
def config(tmp_path, monkeypatch):
    def find(scan):
        logits = np.where(np.arange(scan.hu.shape[2]) % 2, 3.0, -3.0).astype(np.float32)[:, None]
        return explain.Found(logits, np.clip(scan.hu / 90, 0, 1).astype(np.float32) * (logits[:, 0] > 0))

    config = smoke.get_config()
    config.explain.scans = str(tmp_path / "export")
    run = Run(config, tmp_path / "run")
    monkeypatch.setattr(explain, "stored", lambda workdir: run)
    monkeypatch.setattr(
        explain.loop, "trained", lambda run: TrainedRun(run.config, run.workdir, create_network(run.config), {}, 1)
    )
    monkeypatch.setattr(explain, "sized", lambda *of: SimpleNamespace(batch=1, chunk=1))
    monkeypatch.setattr(explain, "choose", lambda *of: explain.Choice("gradcam", "stage2", 0.5))
    monkeypatch.setattr(explain, "build", lambda *of, **sizes: find)
    return config


def test_a_folder_of_dicom(tmp_path, config, capsys, caplog):
    patient = tmp_path / "export" / "Plantagenet"
    paths = dicom_folders.series(patient / "S1", HU, everywhere=True)
    for part, values in (("S2", HU), ("S3", dicom_folders.hu(4, seed=1))):
        dicom_folders.series(patient / part, values, name="doubled", study="another")
    dicom_folders.scout(patient / "S4")
    (patient / "S1" / "cut").write_bytes(paths[0].read_bytes()[:-99])
    with pytest.raises(UserError) as raised:
        explain.explain(config, tmp_path / "run")
    assert str(raised.value).startswith("1 of 2 scans could not be explained: ct-")
    output = tmp_path / "run" / "explain"
    (reason,) = json.loads((output / "explain.json").read_text())["failed"].values()
    assert reason.endswith(": images 1 and 1 differ and stand at one place; keep one")
    (name,) = pd.read_csv(output / "probabilities.csv")["scan"].unique()
    mask = nib.load(output / f"{name}_mask.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj)[:, ::-1].T, (HU > 45) & (np.arange(4) % 2)[:, None, None])
    np.testing.assert_allclose(mask.affine[:3, 3], [4, 3 - 11 * 0.6, 5], atol=1e-5)
    said = {"printed": capsys.readouterr().out, "logged": caplog.text, "raised": str(raised.value)}
    assert "cut left out: is cut off" in said["printed"]
    assert "1 image left out: a scout" in said["printed"]
    written = {path.name: path.read_bytes() for path in output.iterdir()}
    kinds = [
        "heat.nii.gz",
        "mask.nii.gz",
        "montage.png",
        *(["heat.dcm", "mask.dcm"] if dicom_files.available() else []),
    ]
    assert {file for file in written if file.startswith(name)} == {f"{name}_{kind}" for kind in kinds}
    for place, content in (said | written).items():
        content = content.encode() if isinstance(content, str) else content
        content = gzip.decompress(content) if place.endswith(".gz") else content
        assert not any(word.encode() in content for word in dicom_folders.NAMES), place


def test_the_objects_say_which_run_and_which_images(tmp_path, config):
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed (the extra dicom)")
    dicom_folders.series(tmp_path / "export", HU)
    config.explain.dicom_identity = True
    explain.explain(config, tmp_path / "run")
    (path,) = (tmp_path / "run" / "explain").glob("*_mask.dcm")
    made = hd.seg.segread(path)
    assert made.PatientName == "Plantagenet"
    digest = made.DeviceSerialNumber
    assert digest.startswith("smoke-")
    described = f"2 of 4 images positive (2, 4); run {digest}; gradcam at stage2 > 0.5"
    assert made.SegmentSequence[0].SegmentDescription == described
    said = json.loads((tmp_path / "run" / "explain" / "explain.json").read_text())
    assert (said["run"], said["method"]) == (digest, "gradcam")


def test_a_series_that_cannot_be_referred_to_still_gives_nifti(tmp_path, config):
    pytest.importorskip("highdicom", reason="highdicom is not installed (the extra dicom)")
    dicom_folders.series(tmp_path / "export", HU, FrameOfReferenceUID=None)
    with pytest.raises(UserError, match="1 of 1 scans could not be explained"):
        explain.explain(config, tmp_path / "run")
    (reason,) = json.loads((tmp_path / "run" / "explain" / "explain.json").read_text())["failed"].values()
    assert reason == "IM0003: has no FrameOfReferenceUID to refer to"
    assert len(list((tmp_path / "run" / "explain").glob("*.nii.gz"))) == 2


def test_slices_of_rsna_2019_give_nifti(tmp_path, config, capsys):
    for n, plane in enumerate(HU):
        tags = {"StudyInstanceUID": "ID_0c", "SeriesInstanceUID": "ID_0d", "PatientID": "ID_0e"}
        published.rsna_image(tmp_path / "export" / f"ID_0{n}.dcm", plane, number=n, **tags)
    explain.explain(config, tmp_path / "run")
    made = sorted(path.suffix for path in (tmp_path / "run" / "explain").glob("ct-*"))
    assert made == [".gz", ".gz", ".png"]
    assert "no DICOM is written: its files do not name their class" in capsys.readouterr().out


def test_every_series_on_request(tmp_path, config):
    dicom_folders.series(tmp_path / "export" / "1", HU)
    dicom_folders.series(tmp_path / "export" / "2", HU, name="bone", ConvolutionKernel="BONE")
    for every in (False, True):
        config.explain.every_series = every
        assert len(explain._scans(config.explain)) == 1 + every


def test_a_folder_of_nothing(tmp_path, config):
    (tmp_path / "export").mkdir()
    with pytest.raises(UserError, match=r"holds no \.nii\.gz or \.nii file"):
        explain.explain(config, tmp_path / "run")
    assert not dicom.is_dicom(tmp_path / "export")
