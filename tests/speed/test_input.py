"""The figures of the input on a tiny network, and the waiting share of a trace that waits for a known time."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from hemojax import models
from hemojax.config import defaults
from hemojax.models.resnet import ResNet
from hemojax.speed import input

pytestmark = pytest.mark.end_to_end


def test_waiting_share_of_a_trace(tmp_path):
    busy = jax.jit(lambda x: jax.lax.fori_loop(0, 40, lambda _, x: jnp.tanh(x @ x), x))
    x = jnp.ones((400, 400))
    busy(x).block_until_ready()
    shares = {}
    for pause in (0.0, 0.2):
        folder = tmp_path / str(pause)
        with jax.profiler.trace(folder):
            begun = time.perf_counter()
            for _ in range(4):
                busy(x).block_until_ready()
                time.sleep(pause)
            seconds = time.perf_counter() - begun - pause  # the last pause comes after the last operation
        shares[pause] = input.waiting_share(folder), 3 * pause / seconds
    assert shares[0.0][0] < 0.3
    measured, slept = shares[0.2]
    assert measured == pytest.approx(slept, abs=0.1)
    assert measured > shares[0.0][0]


def test_a_trace_without_operations_is_refused(tmp_path):
    with jax.profiler.trace(tmp_path):
        pass
    with pytest.raises(ValueError, match="no operation"):
        input.waiting_share(tmp_path)


def test_every_part_of_the_way_has_a_figure(monkeypatch):
    monkeypatch.setattr(input, "SIDE", 32)
    monkeypatch.setattr(input, "SLICES", 32)
    monkeypatch.setattr(input, "SECONDS", 0.1)
    monkeypatch.setitem(models.MODELS, "small", partial(ResNet, depths=(1,)))
    config = defaults()
    config.data.size, config.train.batch = 32, 16
    rows = list(input.rows(config, "small"))
    assert len(rows) == 5
    assert all(row["slices/s"] > 0 and row["slices/s a core"] > 0 for row in rows)
    assert 0 <= rows[-1]["waiting"] < 1
    assert rows[0]["slices"] == 32 + 2 * input.SCAN
