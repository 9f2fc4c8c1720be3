"""The command line beside `tests/end_to_end`: where a config is found, and which tasks there are."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from hemojax import cli
from hemojax.errors import UserError

ROOT = Path(__file__).parents[1]


def test_every_config_of_the_checkout_is_built_in():
    assert cli.built_in() == {path.stem: path for path in (ROOT / "configs").glob("*.py")}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("", "--config=bench"), "--config={configs}/bench.py"),
        (("", "-config=bench:resnet50"), "-config={configs}/bench.py:resnet50"),
        (("--config", "smoke"), "{configs}/smoke.py"),
        (("", "--config=configs/bench.py:resnet50"), "--config=configs/bench.py:resnet50"),
        (("", "--config=elsewhere/bensh.py"), "--config=elsewhere/bensh.py"),
        (("", "--config.name=bench"), "--config.name=bench"),
        (("", "--config.data.root=config=bench"), "--config.data.root=config=bench"),
        (("--workdir", "bench"), "bench"),
    ],
)
def test_a_name_becomes_the_path_of_its_config(words, found):
    before, word = words
    assert cli._located(word, before) == found.format(configs=ROOT / "configs")


def test_a_name_that_no_config_has_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no built-in config 'bensh': did you mean 'bench'\?"):
        cli._located("--config=bensh", "")


def test_every_task_is_a_module_with_a_function_of_its_name():
    assert set(cli.TASKS) == {"bench", "explain", "export", "report", "speed", "train"}
    for task in cli.TASKS:
        assert callable(getattr(importlib.import_module(f"hemojax.tasks.{task}"), task))


def test_the_command_says_what_it_needs():
    code = "import sys; sys.modules['ml_collections'] = None\nfrom hemojax.__main__ import run\nrun()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "hemojax: the command needs ml_collections, of the packages of the study: pip install 'hemojax[study]'"
    )
