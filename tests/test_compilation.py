import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax import compilation, devices
from hemojax.models.convolution import xla_convolution

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


@pytest.mark.end_to_end
def test_programs_are_kept_in_a_private_folder(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "hemojax").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    programs = list(folder.glob("*-cache"))
    assert programs
    run(XDG_CACHE_HOME=str(tmp_path))
    assert list(folder.glob("*-cache")) == programs


@pytest.mark.end_to_end
def test_a_folder_that_jax_was_given_is_left_alone(tmp_path):
    run(XDG_CACHE_HOME=str(tmp_path / "a"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"))
    assert not (tmp_path / "a").exists()


@pytest.mark.end_to_end
def test_a_home_that_cannot_be_written_does_not_stop_a_run(tmp_path):
    (tmp_path / "file").touch()
    run(XDG_CACHE_HOME=str(tmp_path / "file"))


def test_only_convolutions_are_kept_from_ynnpack():
    x, kernel = jnp.ones((2, 16, 16, 32)), jnp.ones((3, 3, 32, 32))

    def program(x, kernel):
        return xla_convolution(x, kernel, 1, ((1, 1), (1, 1))), x.sum((1, 2)), jnp.ones((16, 32)) @ kernel[0, 0]

    def calls(options):
        text = jax.jit(program, compiler_options=options).lower(x, kernel).compile().as_text()
        calls = [line for line in text.splitlines() if "__ynn_fusion" in line]
        return [sum(f" = f32{shape}" in line for line in calls) for shape in ("[2,16,16,32]", "[16,32]")]

    assert calls({}) == [1, 1]
    assert calls(compilation.options("cpu")) == [0, 1]


def test_a_pmapped_function_gets_the_options_too(monkeypatch):
    def step(state, x):
        return state + jax.lax.pmean(x, devices.AXIS), x.sum()

    mapped = jax.pmap(step, axis_name=devices.AXIS, in_axes=(None, 0), out_axes=(None, 0))
    x = np.ones((jax.local_device_count(), 3), np.float32)
    run = compilation.with_options(mapped, "cpu")
    state = devices.replicate(jnp.zeros(3))
    for _ in range(2):
        state, sums = run(state, x)
    assert run._cache_size() == 1  # the state goes round without being compiled for anew
    np.testing.assert_array_equal(state, np.full(3, 2.0))
    np.testing.assert_array_equal(sums, np.full(len(x), 3.0))
    monkeypatch.setattr(compilation, "options", lambda platform: {"no_such_option": True})
    with pytest.raises(Exception, match="no_such_option"):
        compilation.with_options(mapped, "cpu")(state, x)
