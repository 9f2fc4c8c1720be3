"""The command line beside `tests/end_to_end`: where a config is found, and which tasks there are."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import smoke
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
        (("", "--config=~/mine.py:resnet50"), "--config={home}/mine.py:resnet50"),
        (("--config", "~/mine.py"), "{home}/mine.py"),
    ],
)
def test_a_name_becomes_the_path_of_its_config(words, found):
    before, word = words
    assert cli._located(word, before) == found.format(configs=ROOT / "configs", home=Path.home())


def test_every_path_may_begin_at_the_home_folder():
    code = """
import sys, types
from hemojax import cli
def task(config, workdir):
    print(workdir, config.data.root, config.explain.scans, config.model.weights)
sys.modules["hemojax.tasks.train"] = types.SimpleNamespace(train=task)
cli.run()
"""
    options = {
        "workdir": "~/runs/a",
        "config.data.root": "~/d",
        "config.explain.scans": "~/s",
        "config.model.weights": "~",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    words = [sys.executable, "-c", code, "--config=smoke", "--config.task=train", *words]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {"HOME": "/h"}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["/h/runs/a", "/h/d", "/h/s", "/h"], done.stderr


def test_a_disk_that_refuses_is_a_line(monkeypatch):
    def refuse(config, workdir):
        raise PermissionError(errno.EACCES, "Permission denied", "/scans/a.nii")

    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value=smoke.get_config()))
    monkeypatch.setattr(cli, "WORKDIR", SimpleNamespace(value="work"))
    monkeypatch.setattr(cli, "DISTRIBUTED", SimpleNamespace(value=False))
    monkeypatch.setattr(cli.flags, "FLAGS", {"verbosity": SimpleNamespace(present=True)})
    monkeypatch.setitem(sys.modules, "hemojax.compilation", SimpleNamespace(keep_programs=lambda: None))
    monkeypatch.setitem(sys.modules, "hemojax.tasks.bench", SimpleNamespace(bench=refuse))
    with pytest.raises(SystemExit, match=r"^hemojax: /scans/a.nii: Permission denied; make room or give rights there"):
        cli.main([""])


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
