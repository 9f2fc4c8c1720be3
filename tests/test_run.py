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


@pytest.mark.parametrize(("layout", "seed"), [("phantom", 7), ("generic", 0)])
def test_the_phantom_of_an_earlier_run_had_the_runs_seed(tmp_path, layout, seed):
    config = json.loads(defaults().to_json_best_effort())
    config["seed"], config["data"]["layout"] = 7, layout
    del config["data"]["phantom"]["seed"]
    kept(tmp_path, config)
    assert run.stored(tmp_path).config.data.phantom.seed == seed


@pytest.mark.parametrize(("network", "scale"), [("resnet18", 1.0), ("efficientnet_lite0", 1280**0.5)])
def test_a_classifier_of_an_earlier_run_began_as_torchvisions(tmp_path, network, scale):
    config = json.loads(defaults().to_json_best_effort())
    config["model"]["name"] = network
    del config["train"]["head_scale"]
    kept(tmp_path, config)
    assert run.stored(tmp_path).config.train.head_scale == scale


def test_several_seeds_or_all_folds_are_runs_of_their_own(tmp_path):
    config = defaults()
    assert run.Run(config, tmp_path).trainings == {}
    config.seeds = (3, 5)
    seeds = run.Run(config, tmp_path).trainings
    assert {number: (one.config.seed, one.config.seeds) for number, one in seeds.items()} == {3: (3, ()), 5: (5, ())}
    config.update(seeds=())
    config.data.update(folds=4, fold=-1)
    folds = run.Run(config, tmp_path).trainings
    assert [one.config.data.fold for one in folds.values()] == list(folds) == [0, 1, 2, 3]
    assert folds[2].workdir == tmp_path / "fold-2"
