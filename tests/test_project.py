"""What the README and the pages that it leads to promise of the project as a whole."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hemojax import models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = ("bench", "hemorica", "phe_sich", "smoke", "speed")
VARIANTS = ("bench:efficientnet_v2_s", "phe_sich:efficientnet_v2_s", "phe_sich:efficientnet_lite0")


def test_ci_runs_the_very_test_command_of_the_readme():
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    (tests,) = [line for line in commands if "pytest" in line]
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("config", [*CONFIGS, *VARIANTS])
def test_configs_name_stages_that_their_network_has(config):
    name, *variant = config.split(":")
    config = importlib.import_module(f"configs.{name}").get_config(*variant)
    network = models.create(config.model.name, len(config.data.labels))
    assert set(config.cam.stages) <= set(network.links)
    assert set(config.cam.scorecam.stages) <= set(config.cam.stages)
    assert f"configs/{name}.py" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", text)
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.is_file(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
        assert anchor[1:] in {"", *(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)}
    for path in re.findall(r"`((?:hemojax|tests|configs|docs|benchmarks)/[\w./-]*)", text):
        assert (ROOT / path).exists(), path


def test_requirements_name_neither_tensorflow_nor_torch():
    for name in ("requirements.txt", "requirements-test.txt"):
        packages = re.findall(r"^([\w-]+)[~=<>]", (ROOT / name).read_text(), flags=re.MULTILINE)
        assert packages
        assert not {"tensorflow", "torch", "torchvision"} & set(packages)


def test_importing_hemojax_changes_no_setting_of_the_process():
    code = """
import jax, os, sys
def settings():
    return dict(jax.config.values), {k: v for k, v in os.environ.items() if k.startswith(("JAX", "XLA", "TF", "OMP"))}
before = settings()
import hemojax.cam.engine, hemojax.tasks.bench
assert settings() == before
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
