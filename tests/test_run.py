"""The run that a folder holds."""

import json

import pytest

from hemojax import run
from hemojax.config import defaults
from hemojax.errors import UserError


def kept(folder, config):
    (folder / "results").mkdir()
    (folder / "results" / "run.json").write_text(json.dumps({"config": config}))


def test_a_run_of_an_earlier_version_does_what_it_did(tmp_path):
    config = json.loads(defaults().to_json_best_effort())
    del config["cam"]["registration"], config["eval"]["refine"]
    kept(tmp_path, config)
    found = run.stored(tmp_path).config
    assert not found.cam.registration
    assert not found.eval.refine
    assert tuple(found.cam.methods) == defaults().cam.methods


def test_a_run_keeps_what_it_names(tmp_path):
    kept(tmp_path, json.loads(defaults().to_json_best_effort()))
    found = run.stored(tmp_path).config
    assert found.cam.registration
    assert tuple(found.eval.refine) == ("pamr",)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"run\.json"):
        run.stored(tmp_path)
