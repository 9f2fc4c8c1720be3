"""What the methods need, of a network whose logit does not all come through its last stage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.cam import targets
from hemojax.cam.inputs import gather
from hemojax.models.efficientnet import EfficientNet, StageSpec

TABLE = (StageSpec(True, 1, 2, 6, 1), StageSpec(False, 4, 2, 8, 1))
LOCAL = EfficientNet(2, table=TABLE, stem=4, head=6, local_stage="stage1")
STAGES = ("stem", "stage1", "stage1/expand", "stage2", "head")  # before, at and behind the local head


@pytest.fixture(scope="module")
def made():
    """The variables with a local head that counts, two images, and the inputs of the stages."""
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    variables = jax.jit(LOCAL.init)(jax.random.key(0), images)
    variables = {kind: variables[kind] for kind in ("params", "batch_stats")}
    variables["params"]["local"]["kernel"] *= 1e3
    needs = frozenset({"gradients", "score", "ablated_scores", "position_scores"})
    options = {"stages": STAGES, "needs": needs, "seeds": 1, "chunk": 16, "platform": "cpu"}
    run = jax.jit(lambda: gather(LOCAL, variables, images, targets.fixed(1, 2), jnp.arange(2), **options))
    return variables, images, run()[1]


@pytest.fixture(scope="module")
def perturbed(made):
    """The score with a change of one stage, by running the whole network: no suffix."""
    variables, images, _ = made

    def score(change):
        return LOCAL.apply({**variables, "perturbations": change}, images)[:, 1]

    return jax.jit(score)


@pytest.mark.parametrize("stage", STAGES)
def test_a_changed_stage_has_the_score_of_the_whole_network(made, perturbed, stage):
    inputs = made[2][stage]
    a = inputs.activations
    for k in (0, a.shape[-1] - 1):
        without = jnp.zeros_like(a).at[..., k].set(-a[..., k])
        np.testing.assert_allclose(inputs.ablated_scores[:, k], perturbed({stage: without}), rtol=1e-4, atol=1e-5)
    corner = np.zeros((*a.shape[:3], 1), np.float32)
    corner[:, :2, :2, 0] = np.outer([2, 1], [2, 1]) / 16 if a.shape[1] > 1 else 0.25
    alone = perturbed({stage: a * (corner - 1)})
    np.testing.assert_allclose(inputs.position_scores[:, 0, 0], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_go_both_ways(made, perturbed, stage):
    a = made[2][stage].activations
    expected = jax.grad(lambda change: perturbed({stage: change}).sum())(jnp.zeros_like(a))
    assert jnp.abs(expected).max() > 0
    np.testing.assert_allclose(made[2][stage].gradients, expected, rtol=1e-4, atol=1e-6)
