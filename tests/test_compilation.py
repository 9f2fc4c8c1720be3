import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAM = """
import jax
from hemojax.compilation import keep_programs
keep_programs()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x * 2 + 1)(3.0)
"""


def run(**environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_programs_are_kept_in_a_private_folder(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "hemojax").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    programs = list(folder.glob("*-cache"))
    assert programs
    run(XDG_CACHE_HOME=str(tmp_path))
    assert list(folder.glob("*-cache")) == programs


def test_a_folder_that_jax_was_given_is_left_alone(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path / "a"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"))
    assert not (tmp_path / "a").exists()


def test_a_home_that_cannot_be_written_does_not_stop_a_run(tmp_path):
    (tmp_path / "file").touch()
    run(XDG_CACHE_HOME=str(tmp_path / "file"))
