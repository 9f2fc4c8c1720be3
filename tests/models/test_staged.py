import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hemojax.errors import UserError
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.resnet import ResNet

TABLE = (StageSpec(True, 4, 2, 8, 1), StageSpec(False, 6, 1, 8, 1))
NETWORKS = {"resnet": ResNet(3, depths=(1, 1)), "efficientnet_v2": EfficientNet(3, table=TABLE)}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    """A network, variables with no zero biases, two images, and logits, activations and gradients of one pass."""
    network = NETWORKS[request.param]
    x = jax.random.normal(jax.random.key(1), (2, 40, 33, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    zeros = variables.pop("perturbations")

    def score(perturbations):
        given = {**variables, "perturbations": perturbations}
        logits, tapped = network.apply(given, x, mutable=["intermediates"])
        return logits[:, 1].sum(), (logits, tapped["intermediates"])

    (_, (logits, activations)), gradients = jax.jit(jax.value_and_grad(score, has_aux=True))(zeros)
    return network, variables, x, logits, activations, gradients


def test_every_stage_is_tapped_as_one_array(case):
    network, _, _, logits, activations, gradients = case
    assert logits.shape == (2, 3)
    assert tuple(activations) == tuple(gradients) == tuple(sorted(network.stages))
    assert all(activations[s].shape == gradients[s].shape for s in network.stages)


def test_suffix_of_each_stage_gives_the_logits_and_the_gradient(case):
    network, variables, _, logits, activations, gradients = case
    for stage in network.stages:

        @jax.jit
        def suffix(activation, stage=stage):
            y, pullback = jax.vjp(lambda a: network.apply(variables, a, after=stage), activation)
            return y, pullback(jnp.zeros_like(y).at[:, 1].set(1))[0]

        suffix_logits, gradient = suffix(activations[stage])
        np.testing.assert_allclose(suffix_logits, logits, rtol=1e-4, atol=1e-5)
        assert jnp.abs(gradient).max() > 0
        np.testing.assert_allclose(gradient, gradients[stage], rtol=1e-3, atol=1e-4 * jnp.abs(gradient).max())


def test_prefix_and_middle_give_the_activations(case):
    network, variables, x, _, activations, _ = case
    stem, middle = network.stages[0], network.stages[2]
    prefix = jax.jit(lambda x: network.apply(variables, x, until=stem))(x)
    np.testing.assert_allclose(prefix, activations[stem], rtol=1e-4, atol=1e-5)
    between = jax.jit(lambda x: network.apply(variables, x, after=stem, until=middle))(prefix)
    np.testing.assert_allclose(between, activations[middle], rtol=1e-4, atol=1e-4)


def test_a_perturbation_is_added_to_the_stage():
    network = NETWORKS["resnet"]
    x = jnp.ones((1, 8, 8, 64))
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    variables["perturbations"]["stage1"] += 2.0
    y = network.apply(variables, x, after="stem", until="stage1")
    np.testing.assert_array_equal(y, x + 2)


@pytest.mark.parametrize(
    ("network", "name", "stage"),
    [
        ("resnet", "stage2", "stage2"),
        ("resnet", "layer2", "stage2"),
        ("efficientnet_v2", "features[0]", "stem"),
        ("efficientnet_v2", "features[2]", "stage2"),
        ("efficientnet_v2", "features[3]", "head"),
        ("efficientnet_v2", "blocks[0]", "stage1"),
    ],
)
def test_stages_have_the_names_of_the_torch_libraries_too(network, name, stage):
    network = NETWORKS[network]
    assert network.resolve(name) == stage
    (by_name, _), (by_stage, _) = (
        jax.eval_shape(
            lambda until=until: network.init_with_output(jax.random.key(0), jnp.ones((1, 32, 32, 3)), until=until)
        )
        for until in (name, stage)
    )
    assert by_name.shape == by_stage.shape


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"until": "stage9"}, "no stage 'stage9'; the stages are stem, stage1"),
        ({"until": "features[1]"}, "no stage 'features\\[1\\]'"),
        ({"after": "layer2", "until": "stage1"}, "'stage1' does not come after stage 'layer2'"),
        ({"after": "stage2", "until": "stage2"}, "'stage2' does not come after stage 'stage2'"),
    ],
)
def test_impossible_stages_are_refused(limits, message):
    network = NETWORKS["resnet"]
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)), **limits))
