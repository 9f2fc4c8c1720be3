import jax.numpy as jnp
import optax
import pytest

from hemojax.config import defaults
from hemojax.errors import UserError
from hemojax.training import state


def test_an_unknown_optimizer_is_refused():
    train = defaults().train
    train.optimizer = "sgd"
    with pytest.raises(UserError, match=r"no train\.optimizer 'sgd': did you mean 'adam"):
        state.optimizer(train, 10)


def test_adamw_warms_up_and_ends_at_zero():
    train = defaults().train
    train.weight_decay, train.warmup = 0.0, 0.25
    optimiser = state.optimizer(train, 100)
    params = {"w": jnp.ones(1)}
    opt_state, sizes = optimiser.init(params), []
    for _ in range(100):
        # With a constant gradient Adam's step is the learning rate.
        updates, opt_state = optimiser.update({"w": jnp.ones(1)}, opt_state, params)
        sizes.append(-float(updates["w"][0]))
    assert max(sizes) == pytest.approx(train.learning_rate, rel=1e-3)
    assert sizes.index(max(sizes)) == 25
    assert sizes[0] == pytest.approx(train.learning_rate / 25, rel=1e-3)
    assert sizes[-1] < train.learning_rate / 100


def test_adam_keeps_its_rate():
    train = defaults().train
    train.optimizer = "adam"
    params = {"w": jnp.ones(1)}
    optimiser: optax.GradientTransformation = state.optimizer(train, 5)
    updates, _ = optimiser.update({"w": jnp.ones(1)}, optimiser.init(params), params)
    assert float(updates["w"][0]) == pytest.approx(-1e-3, rel=1e-4)


def test_what_is_not_finite_is_named():
    variables = {
        "params": {"conv": {"kernel": jnp.ones(3)}, "fc": {"bias": jnp.array([0.0, jnp.inf])}},
        "batch_stats": {"layer1_0": {"bn1": {"var": jnp.array([1.0, jnp.nan]), "mean": jnp.full(2, 3e38)}}},
        "step": jnp.int32(7),
    }
    assert sorted(state.not_finite(variables)) == ["batch_stats.layer1_0.bn1.var", "params.fc.bias"]
    assert state.not_finite({"step": jnp.int32(7)}) == []
