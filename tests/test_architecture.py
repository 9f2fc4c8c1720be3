"""The walls of the house, see docs/architecture.md: which room may import which."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "hemojax"
ROOMS = sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").exists())
GROUND = {
    "batches",
    "compilation",
    "devices",
    "errors",
    "files",
    "groups",
    "network",
    "precision",
    "progress",
    "separable",
}
"""Modules outside of the rooms that every room may import."""
ALLOWED = {
    "benchmark": {
        "cam",
        "data",
        "metrics",
        "models.layers",
        "models.staged",
        "statistics",
        "training",
        "results",
        "run",
    },
    "cam": {"models.layers"},
    "data": {"metrics.ratio"},
    "metrics": {"data.midline"},
    "models": set(),
    "reporting": {"data.case", "data.dicom", "data.orientation", "metrics", "statistics", "results"},
    "speed": {"cam", "data", "metrics", "models", "training", "huge_pages"},
    "statistics": {"metrics"},
    "tasks": {*ROOMS, "checks", "results", "run"} - {"tasks"},
    "training": {"cam", "data", "metrics.classification", "metrics.position", "models", "run"},
}


def imported(path: Path) -> set[str]:
    """The modules of hemojax that a file imports, without the package's own name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hemojax":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("hemojax.")]
        for name in names:
            parts = name.split(".")[1:]
            while not (ROOT.joinpath(*parts).with_suffix(".py").exists() or (ROOT.joinpath(*parts).is_dir())):
                parts = parts[:-1]
            found.add(".".join(parts))
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room):
    allowed = GROUND | ALLOWED[room] | {room}
    for path in (ROOT / room).rglob("*.py"):
        for module in imported(path):
            inside = any(module == name or module.startswith(f"{name}.") for name in allowed)
            assert inside, f"{path.relative_to(ROOT)} imports {module}"


def test_only_its_task_imports_speed_and_only_the_command_line_tasks():
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0]
        for module in imported(path):
            if module.startswith("speed"):
                assert room == "speed" or path == ROOT / "tasks" / "speed.py"
            if module.startswith("tasks"):
                assert room in ("tasks", "cli.py")


def test_metrics_see_arrays_and_no_tables():
    for path in (ROOT / "metrics").glob("*.py"):
        assert "pandas" not in path.read_text(), path.name


def test_no_name_stands_in_two_rooms():
    # But for the tasks, which are named by the words of config.task.
    names = Counter(path.stem for path in ROOT.rglob("*.py") if path.parent.name != "tasks" and path.stem != "__init__")
    assert [name for name, number in names.items() if number > 1] == []
