"""What the README and the pages that it leads to promise of the project as a whole."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hemojax import models

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "hemojax").rglob("*.py")
}
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


def test_requirements_are_those_of_the_package():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = [*package["dependencies"], *package["optional-dependencies"]["study"]]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sorted(given, key=str.lower) == [line for line in lines if not line.startswith("#")]


def test_the_oldest_releases_are_the_lower_ends_of_the_core():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = dict(re.fullmatch(r"([\w-]+)>=([\d.]+),<.*", line).groups() for line in package["dependencies"])
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / ".ci" / "oldest.txt").read_text(), flags=re.MULTILINE))
    assert oldest == lowest | {"jaxlib": lowest["jax"]}


@pytest.mark.end_to_end
def test_the_core_imports_nothing_of_the_study():
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = {"pillow": "PIL", "scikit-image": "skimage"}
    inherited = {"absl-py", "filelock", "orbax-checkpoint", "rich"}  # flax and optax need these themselves
    study = {re.match(r"[\w-]+", line).group(0) for line in package["optional-dependencies"]["study"]} - inherited
    study = sorted(modules.get(name, name.replace("-", "_")) for name in study)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({study}))  # importing one of these fails
import hemojax.cam, hemojax.models, hemojax.network, hemojax.compilation
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_module_can_be_imported():
    # Tasks and contenders of the speed tables are named in strings.
    peers = {name for name in MODULES if name.endswith("_torch")}
    for name in sorted(MODULES - peers - {"hemojax.__main__"}):
        importlib.import_module(name)
    for name in sorted(peers):
        pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
        importlib.import_module(name)


def test_every_module_and_name_in_a_text_is_there():
    known = MODULES | {"hemojax"}
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(ROOT / "hemojax").rglob("*.py"),
        *ROOT.glob("configs/*.py"),
    ]:
        text = path.read_text()
        for name in re.findall(r"\bhemojax(?:\.[a-z_0-9]+)+", text):
            module = max((known_name for known_name in known if f"{name}.".startswith(f"{known_name}.")), key=len)
            rest = name.removeprefix(module).removeprefix(".").split(".")[0]
            assert not rest or rest in (ROOT / _file(module)).read_text(), f"{path.name}: {name}"
        for name in re.findall(r"hemojax/[\w/]+\.py", text):
            assert (ROOT / name).exists(), f"{path.name}: {name}"


def _file(module):
    path = Path(module.replace(".", "/"))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def test_requirements_name_neither_tensorflow_nor_torch():
    for name in ("requirements.txt", "requirements-test.txt"):
        packages = re.findall(r"^([\w-]+)[~=<>]", (ROOT / name).read_text(), flags=re.MULTILINE)
        assert packages
        assert not {"tensorflow", "torch", "torchvision"} & set(packages)


@pytest.mark.end_to_end
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
