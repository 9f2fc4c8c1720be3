"""What training begins with."""

import shutil
from types import SimpleNamespace

import pytest
from data.folders import generic

from hemojax import results
from hemojax.config import defaults
from hemojax.data import records
from hemojax.errors import UserError
from hemojax.run import Run
from hemojax.tasks.train import train
from hemojax.training import loop


class Reached(Exception):
    """The run's own training."""


def test_a_run_begins_with_its_network_after_the_phantom(tmp_path, monkeypatch):
    config = defaults()
    config.data.update(root=str(generic(tmp_path / "set")), size=48)
    config.data.phantom.update(cases=12, size=32, slices=8)
    config.train.update(epochs=3, pretrain="phantom", pretrain_epochs=2)
    folder, begun = tmp_path / "work", []

    def recorded(run, reader, initial):
        begun.append((run, reader, initial))
        if run.workdir == folder:
            raise Reached

    monkeypatch.setattr(loop, "train", recorded)
    monkeypatch.setattr(loop, "initial_variables", lambda config: {"params": "fresh"})
    monkeypatch.setattr(loop, "trained", lambda run: SimpleNamespace(variables={"params": str(run.workdir)}))
    with pytest.raises(Reached):
        train(config, folder)
    (before, phantom, first), (run, reader, second) = begun
    assert (before.workdir, first) == (folder / "pretraining", {"params": "fresh"})
    assert (run.workdir, second) == (folder, {"params": str(folder / "pretraining")})
    assert [it.config.train.epochs for it in (before, run)] == [2, 3]
    assert [it.config.data.size for it in (before, run)] == [32, 48]
    assert set(records.read_index(phantom.folder, "train")["case"]) <= {f"phantom-{n:04d}" for n in range(12)}
    assert set(records.read_index(reader.folder, "train")["case"]) <= {f"p{n}" for n in range(9)}


def test_several_seeds_are_for_bench(tmp_path):
    config = defaults()
    config.seeds = (0, 1)
    with pytest.raises(UserError, match=r"--config\.seeds"):
        train(config, tmp_path)


def test_what_was_made_of_former_records_is_set_aside(tmp_path, monkeypatch, capsys):
    config = defaults()
    config.data.update(root=str(generic(tmp_path / "set", clean=(0, 3, 5))), size=32)
    folder, masks = tmp_path / "work", tmp_path / "set" / "masks"
    run = Run(config, folder)

    def begun(run, reader, initial):
        raise Reached

    monkeypatch.setattr(loop, "train", begun)
    monkeypatch.setattr(loop, "initial_variables", lambda config: {})
    for _ in range(2):  # nothing has changed the second time
        with pytest.raises(Reached):
            train(config, folder)
        (run.checkpoints / "best").mkdir(parents=True, exist_ok=True)
        (folder / "train.jsonl").write_text("{}")
    assert run.checkpoints.exists()
    shutil.copy(masks / "p1.nii.gz", masks / "p3.nii.gz")
    with pytest.raises(Reached):
        train(config, folder)
    assert {path.name for path in (folder / "former-1").iterdir()} == {"checkpoints", "train.jsonl", "results"}
    assert {path.name for path in folder.iterdir()} == {"former-1", "records", "results"}
    assert "1 case (p3)" in capsys.readouterr().out
    before, now = (results.read_json(home / "results" / "run.json") for home in (folder / "former-1", folder))
    assert before["records"] != now["records"]


def test_a_scan_that_is_left_out_stands_in_the_runs_description(tmp_path, monkeypatch):
    config = defaults()
    config.data.update(root=str(generic(tmp_path / "set", clean=(0, 3, 5))), size=32, on_error="skip")
    (tmp_path / "set" / "images" / "p7.nii.gz").write_text("no scan")
    monkeypatch.setattr(loop, "initial_variables", lambda config: {})
    monkeypatch.setattr(loop, "train", lambda run, reader, initial: (_ for _ in ()).throw(Reached))
    with pytest.raises(Reached):
        train(config, tmp_path / "work")
    assert list(results.read_json(tmp_path / "work" / "results" / "run.json")["left_out"]) == ["p7"]


def test_all_folds_are_for_bench(tmp_path):
    config = defaults()
    config.data.update(folds=3, fold=-1)
    with pytest.raises(UserError, match=r"--config\.data\.fold=-1"):
        train(config, tmp_path)


def test_weights_that_do_not_fit_are_refused_before_the_data_are_prepared(tmp_path, monkeypatch):
    def refuse(config):
        raise UserError("do not fit")

    monkeypatch.setattr(loop, "initial_variables", refuse)
    with pytest.raises(UserError, match="do not fit"):
        train(defaults(), tmp_path)
    assert not list(tmp_path.iterdir())
