"""Where names are hashed, nothing that preparation, inspection or explanation writes holds one."""

import json
import stat
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from data.folders import generic, save, volumes

from configs import smoke
from hemojax.config import defaults
from hemojax.data import origins, prepare, records
from hemojax.data.case import SPLITS
from hemojax.data.listing import Source
from hemojax.data.pseudonyms import Pseudonyms
from hemojax.errors import UserError
from hemojax.tasks import explain
from hemojax.tasks.inspect import inspect

PLANTED = ("Plantagenet", "Tudor")
"""In the names of scans, and of patients in a table."""


@pytest.fixture
def config(tmp_path):
    """Nine scans of eight patients, whose names stand in the files' names, one of which cannot be read."""
    root = generic(tmp_path / "set", clean=(0, 3, 5, 8))
    for folder in ("images", "masks"):
        for path in (root / folder).iterdir():
            path.rename(path.with_name(f"Plantagenet {path.name}"))
    (root / "images" / "Plantagenet p7.nii.gz").write_text("no scan")
    patients = [f"Tudor {'0' if n == 8 else ''}{min(n, 8) or 8}" for n in range(9)]  # the first and the last are one
    table = pd.DataFrame({"case": [f"Plantagenet p{n}" for n in range(9)], "patient": patients})
    table.to_csv(tmp_path / "patients.csv", index=False)
    config = defaults()
    config.data.update(
        root=str(root), hash_names=True, on_error="skip", size=16, patients=str(tmp_path / "patients.csv")
    )
    return config


def assert_unnamed(folder):
    """No name stands in a file, or in its name; but for the private table."""
    private = folder / "private"
    files = [path for path in folder.rglob("*") if path.is_file() and private not in path.parents]
    assert len(files) > 1
    for path in files:
        content = path.read_bytes()
        for name in PLANTED:
            assert name not in str(path.relative_to(folder))
            assert name.encode() not in content, path
            assert name.encode("utf-16-le") not in content, path


def test_records_hold_digests_and_a_private_table_the_names(tmp_path, config, capsys):
    work = tmp_path / "work"
    prepare.prepare(config, work / "records")
    assert_unnamed(work)
    table = pd.read_csv(work / "private" / "names.csv")
    assert sorted(table["name"]) == [f"Plantagenet p{n}" for n in range(9)]
    assert stat.S_IMODE((work / "private").stat().st_mode) == 0o700
    for name in ("key", "names.csv"):
        assert stat.S_IMODE((work / "private" / name).stat().st_mode) == 0o600
    digest = dict(zip(table["name"], table["digest"], strict=True))
    index = pd.concat([records.read_index(work / "records", split) for split in SPLITS])
    assert set(index["case"]) == set(digest.values()) - {digest["Plantagenet p7"]}
    (fault,) = records.left_out(work / "records").values()
    assert fault.startswith(f"{digest['Plantagenet p7']}: cannot be read")
    assert "Plantagenet" not in capsys.readouterr().out.replace(str(config.data.root), "")
    patient = index.drop_duplicates("case").set_index("case")["patient"]
    assert patient[digest["Plantagenet p0"]] == patient[digest["Plantagenet p8"]]
    assert patient.nunique() == 7
    record = records.data_source(work / "records", "train")[0]
    assert record["case"].decode() in digest.values()


def test_the_same_name_has_the_same_digest_in_one_workdir_alone(tmp_path):
    one, again, other = Pseudonyms(tmp_path / "a"), Pseudonyms(tmp_path / "a"), Pseudonyms(tmp_path / "b")
    assert one("ann") == again("ann") != other("ann")
    assert one("ann") != one("bob")
    one.note(["ann"])
    again.note(["bob", "ann"])
    assert pd.read_csv(tmp_path / "a" / "names.csv")["name"].tolist() == ["ann", "bob"]


def test_the_splits_are_those_of_the_names(tmp_path, config):
    dealt, config.data.patients = [], ""
    for hashed in (True, False):
        config.data.hash_names = hashed
        folder = tmp_path / f"{hashed}" / "records"
        prepare.prepare(config, folder)
        prepare.prepare(config, folder)  # nothing has changed
        index = pd.concat([records.read_index(folder, split) for split in SPLITS])
        names = Pseudonyms(folder.with_name("private"))
        every = [f"Plantagenet p{n}" for n in range(9)]
        own = {names(name): name for name in every} if hashed else {name: name for name in every}
        dealt.append({own[case]: split for case, split in zip(index["case"], index["split"], strict=True)})
    assert dealt[0] == dealt[1]


def test_a_census_names_nobody(tmp_path, config, capsys):
    (tmp_path / "set" / "slices.csv").write_text("patient,slice,any\nTudor,0,1\n")
    with pytest.raises(UserError, match="cannot be trained on, 2 problems"):
        inspect(config, tmp_path / "work")
    assert_unnamed(tmp_path / "work")
    assert "'Tudor'" in capsys.readouterr().out  # which is for those who have the data
    found = json.loads((tmp_path / "work" / "inspect.json").read_text())
    assert not found["trainable"]
    assert len(found["problems"]) == 1


def test_what_tables_contradict_is_said_without_names(tmp_path, config):
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nPlantagenet p0,Tudor\n")
    config.data.update(on_error="stop", patients=str(table), patient_pattern="(Plantagenet)")
    with pytest.raises(UserError, match=r"^id-\w{16}: what is said of it contradicts") as caught:
        prepare.prepare(config, tmp_path / "work" / "records")
    assert "antagenet" not in str(caught.value)


def test_origins_of_earlier_versions_are_known(tmp_path):
    path = tmp_path / "a"
    path.write_text("content")
    source = Source((path,), "", lambda: None)
    now = origins.settled(origins.with_digests(origins.of(source), source.files), source.files)
    before = now | {"files": {str(path): now["files"]["0"]}}
    assert origins.same(origins.of(source), before, source.files)
    path.write_text("another content")
    assert not origins.same(origins.of(source), before, source.files)


def test_explained_scans_go_under_digests(tmp_path, monkeypatch):
    run = SimpleNamespace(network=None, config=smoke.get_config())
    monkeypatch.setattr(explain, "stored", lambda workdir: run)
    monkeypatch.setattr(explain, "choose", lambda options, run: explain.Choice("gradcam", "stage3", 0.5))
    monkeypatch.setattr(explain.loop, "trained", lambda run: run)
    monkeypatch.setattr(explain, "sized", lambda cam, network, data: SimpleNamespace(batch=1, chunk=1))

    def find(scan):
        logits = np.full((scan.hu.shape[2], 1), 1.0, np.float32)
        return explain.Found(logits, np.ones(scan.hu.shape, np.float32))

    monkeypatch.setattr(explain, "build", lambda run, choice, batch, chunk: find)
    config = smoke.get_config()
    config.data.hash_names = True
    config.explain.scans = str(tmp_path / "scans")
    for name in ("Plantagenet", "Tudor"):
        save(tmp_path / "scans" / f"{name}.nii.gz", volumes(np.random.default_rng(0))[0])
    (tmp_path / "scans" / "Tudor.nii.gz").write_text("no scan")
    work = tmp_path / "work"
    with pytest.raises(UserError, match="1 of 2 scans") as caught:
        explain.explain(config, work)
    assert "Tudor" not in str(caught.value)
    assert_unnamed(work)
    digest = Pseudonyms(work / "private")("Plantagenet")
    assert (work / "explain" / f"{digest}_mask.nii.gz").exists()
    assert set(pd.read_csv(work / "explain" / "probabilities.csv")["scan"]) == {digest}
