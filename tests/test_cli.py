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
from hemojax import cli, files
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


def test_a_disk_that_refuses_is_a_line(tmp_path, monkeypatch):
    def refuse(config, workdir):
        raise PermissionError(errno.EACCES, "Permission denied", "/scans/a.nii")

    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value=smoke.get_config()))
    monkeypatch.setattr(cli, "WORKDIR", SimpleNamespace(value=str(tmp_path)))
    monkeypatch.setattr(cli, "DISTRIBUTED", SimpleNamespace(value=False))
    monkeypatch.setattr(cli.flags, "FLAGS", {"verbosity": SimpleNamespace(present=True)})
    monkeypatch.setitem(sys.modules, "hemojax.compilation", SimpleNamespace(keep_programs=lambda: None))
    monkeypatch.setitem(sys.modules, "hemojax.tasks.bench", SimpleNamespace(bench=refuse))
    with pytest.raises(SystemExit, match=r"^hemojax: /scans/a.nii: Permission denied; see to its rights"):
        cli.main([""])


def test_a_name_that_no_config_has_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no built-in config 'bensh': did you mean 'bench'\?"):
        cli._located("--config=bensh", "")


def test_every_task_is_a_module_with_a_function_of_its_name():
    assert set(cli.TASKS) == {"bench", "explain", "export", "inspect", "report", "speed", "train"}
    for task in cli.TASKS:
        assert callable(getattr(importlib.import_module(f"hemojax.tasks.{task}"), task))


def test_the_command_says_what_it_needs():
    code = "import sys; sys.modules['ml_collections'] = None\nfrom hemojax.__main__ import run\nrun()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "hemojax: the command needs ml_collections, of the packages of the study: pip install 'hemojax[study]'"
    )


@pytest.fixture
def flagged(tmp_path, monkeypatch):
    """The command line with a task of our own; gives the function that runs it."""
    config = smoke.get_config()
    config.task = "report"
    monkeypatch.setattr(cli, "CONFIG", SimpleNamespace(value=config))
    monkeypatch.setattr(cli, "WORKDIR", SimpleNamespace(value=str(tmp_path / "work")))
    monkeypatch.setattr(cli, "DISTRIBUTED", SimpleNamespace(value=False))
    monkeypatch.setattr(cli.flags, "FLAGS", {"verbosity": SimpleNamespace(present=True)})
    monkeypatch.setattr(importlib.import_module("hemojax.compilation"), "keep_programs", lambda: None)

    def run(task):
        monkeypatch.setattr(importlib.import_module("hemojax.tasks.report"), "report", task)
        cli.main(["hemojax"])

    return run


def test_a_second_run_in_a_workdir_is_refused_and_names_the_first(flagged, tmp_path):
    done = []
    with (
        files.only_writer(tmp_path / "work"),
        pytest.raises(SystemExit, match=rf"run writes there \(process {os.getpid()}"),
    ):
        flagged(lambda config, workdir: done.append(workdir))
    assert done == []
    flagged(lambda config, workdir: done.append(workdir))
    assert done == [tmp_path / "work"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_a_disk_refuses_ends_in_one_line(flagged, tmp_path, code):
    def task(config, workdir):
        raise OSError(code, os.strerror(code), str(workdir / "maps"))

    with pytest.raises(SystemExit, match=rf"^hemojax: {tmp_path}/work/maps: {os.strerror(code)}; ") as error:
        flagged(task)
    assert "\n" not in str(error.value)


def test_a_fault_of_the_program_keeps_its_traceback(flagged):
    def task(config, workdir):
        raise KeyError("no fault of the user")

    with pytest.raises(KeyError):
        flagged(task)


def test_a_workdir_that_cannot_be_made_is_said(flagged, tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(SystemExit, match=rf"^hemojax: {tmp_path}/work: File exists; "):
        flagged(lambda config, workdir: None)
