import subprocess
import sys
from pathlib import Path

import pytest

from hemojax import huge_pages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("setting", "given", "asked"),
    [
        ("always [madvise] never", {}, True),
        ("[always] madvise never", {}, False),
        ("always madvise [never]", {}, False),
        ("always [madvise] never", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, False),
    ],
)
def test_asks_only_where_it_is_needed_and_nothing_was_chosen(tmp_path, setting, given, asked):
    (tmp_path / "enabled").write_text(setting)
    wanted = huge_pages.environment({"A": "1"} | given, tmp_path / "enabled")
    assert wanted == ({"A": "1", "GLIBC_TUNABLES": huge_pages.TUNABLE} if asked else None)


def test_does_nothing_where_the_kernel_does_not_say(tmp_path):
    assert huge_pages.environment({}, tmp_path / "missing") is None


def test_a_program_started_anew_keeps_its_arguments_and_its_process(tmp_path):
    (tmp_path / "enabled").write_text("always [madvise] never")
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, sys\n"
        "from hemojax import huge_pages\n"
        "print(os.getpid(), sys.argv[1:], os.environ.get('GLIBC_TUNABLES'), flush=True)\n"
        f"environment, setting = huge_pages.environment, pathlib.Path({str(tmp_path / 'enabled')!r})\n"
        "huge_pages.environment = lambda given: environment(given, setting)\n"
        "huge_pages.ask()\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), "--a=b c"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    before, after = (line.split(" ", 1) for line in done.stdout.splitlines())
    assert before[0] == after[0]
    assert (before[1], after[1]) == ("['--a=b c'] None", f"['--a=b c'] {huge_pages.TUNABLE}")
