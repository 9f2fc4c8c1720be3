from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hemojax.errors import UserError
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.resnet import ResNet

pytestmark = pytest.mark.end_to_end

# Behind stage2 and stage3 an inner tap, of an MBConv and of a FusedMBConv
TABLE = (
    StageSpec(True, 4, 2, 8, 1),
    StageSpec(False, 6, 1, 8, 1),
    StageSpec(False, 4, 2, 12, 2),
    StageSpec(True, 4, 2, 8, 1),
)
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


def test_every_link_is_tapped_as_one_array(case):
    network, _, _, logits, activations, gradients = case
    assert logits.shape == (2, 3)
    assert tuple(activations) == tuple(gradients) == tuple(sorted(network.links))
    assert all(activations[s].shape == gradients[s].shape for s in network.links)


def test_suffix_of_each_link_gives_the_logits_and_the_gradient(case):
    network, variables, _, logits, activations, gradients = case
    for stage in network.links:

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
    for link, following in pairwise(network.links):
        prefix = jax.jit(lambda x, link=link: network.apply(variables, x, until=link))(x)
        np.testing.assert_allclose(prefix, activations[link], rtol=1e-4, atol=1e-4)
        middle = jax.jit(lambda x, after=link, until=following: network.apply(variables, x, after=after, until=until))
        np.testing.assert_allclose(middle(prefix), activations[following], rtol=1e-4, atol=1e-4)


def test_where_a_network_begins_pointwise_it_is_affine():
    network = NETWORKS["efficientnet_v2"]
    x = jax.random.normal(jax.random.key(1), (2, 40, 33, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])  # an offset
    variables = {name: variables[name] for name in ("params", "batch_stats")}
    assert network.pointwise_after == ("stage2", "stage4")  # behind stage1 the residual connection goes around it
    logits = network.apply(variables, x)
    for stage in network.pointwise_after:
        a = network.apply(variables, x, until=stage)
        begin = jax.jit(partial(network.apply, variables, after=stage, until=f"{stage}/affine"))
        rest = network.apply(variables, begin(a), after=f"{stage}/affine")
        np.testing.assert_allclose(rest, logits, rtol=1e-4, atol=1e-5)
        zero, other = begin(jnp.zeros_like(a)), a.at[:, 1, 1].set(2.0)
        assert jnp.abs(zero).max() > 0.1
        np.testing.assert_allclose(begin(3 * a) - zero, 3 * (begin(a) - zero), rtol=1e-4, atol=1e-4)
        changed = np.abs(begin(other) - begin(a)).max((0, 3)) > 1e-4
        assert np.argwhere(changed).tolist() == [[1, 1]]


def test_a_perturbation_is_added_to_the_stage():
    network = NETWORKS["resnet"]
    x = jnp.ones((1, 8, 8, 64))
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    variables["perturbations"]["stage1"] += 2.0
    y = network.apply(variables, x, after="stem", until="stage1")
    np.testing.assert_array_equal(y, x + 2)
    del variables["perturbations"]["stage2"]  # the others need none
    np.testing.assert_array_equal(network.apply(variables, x, after="stem", until="stage1"), x + 2)


def test_inner_taps_are_the_expansions_without_a_residual_connection_around_them():
    assert NETWORKS["resnet"].taps == ()
    network = NETWORKS["efficientnet_v2"]
    assert network.taps == ("stage2/expand", "stage3/expand")
    chain = ("stem", "stage1", "stage2", "stage2/expand", "stage3", "stage3/expand", "stage4", "head")
    assert network.links == chain
    affine = {"stage2": "stage2/affine", "stage4": "stage4/affine"}
    assert network.chain == tuple(step for name in chain for step in (name, affine.get(name)) if step)
    assert network.stages == tuple(name for name in chain if "/" not in name)
    nothing_to_expand = (StageSpec(True, 4, 2, 8, 1), StageSpec(True, 1, 2, 12, 1), StageSpec(False, 1, 2, 16, 1))
    assert EfficientNet(3, table=nothing_to_expand).taps == ()


@pytest.mark.parametrize(
    ("network", "name", "stage"),
    [
        ("resnet", "stage2", "stage2"),
        ("resnet", "layer2", "stage2"),
        ("efficientnet_v2", "features[0]", "stem"),
        ("efficientnet_v2", "features[2]", "stage2"),
        ("efficientnet_v2", "features[5]", "head"),
        ("efficientnet_v2", "stage3/expand", "stage3/expand"),
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
        ({"until": "stage9"}, "no stage 'stage9': did you mean 'stage\\d'\\? There are stem, stage1"),
        ({"until": "features[1]"}, "no stage 'features\\[1\\]'"),
        ({"until": "stage1/expand"}, "no stage 'stage1/expand'"),
        ({"after": "layer2", "until": "stage1"}, "'stage1' does not come after stage 'layer2'"),
        ({"after": "stage2", "until": "stage2"}, "'stage2' does not come after stage 'stage2'"),
    ],
)
def test_impossible_stages_are_refused(limits, message):
    network = NETWORKS["resnet"]
    with pytest.raises(UserError, match=message):
        jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)), **limits))


@pytest.mark.parametrize(
    ("name", "stage", "pooling"), [("resnet", "stage1", "lse"), ("efficientnet_v2", "stage2/expand", "topk")]
)
def test_a_local_head_adds_what_it_finds_at_each_position(name, stage, pooling):
    network = NETWORKS[name].clone(local_stage=stage, local_pooling=pooling)
    x = jax.random.normal(jax.random.key(1), (2, 32, 33, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    variables = {kind: variables[kind] for kind in ("params", "batch_stats")}
    kernel = jax.random.normal(jax.random.key(2), variables["params"]["local"]["kernel"].shape)
    params = {**variables["params"], "local": {"kernel": kernel}}
    without = {**variables, "params": {key: params[key] for key in params if key != "local"}}
    logits, tapped = network.apply({**variables, "params": params}, x, mutable=["intermediates"])
    deep, a = NETWORKS[name].apply(without, x), tapped["intermediates"][stage]
    evidence = np.asarray(a @ kernel)
    if pooling == "lse":
        added = special.logsumexp(5 * evidence, axis=(1, 2), b=1 / evidence[0, ..., 0].size) / 5
    else:
        found = np.sort(evidence.reshape(2, -1, 3), axis=1)
        added = found[:, -max(1, round(found.shape[1] / 32)) :].mean(1)
    assert np.abs(added).min() > 0.01
    np.testing.assert_allclose(logits, deep + added, rtol=1e-4, atol=1e-4)
    suffix = network.apply({**variables, "params": params}, a, after=stage)  # both ways lead from that stage
    np.testing.assert_allclose(suffix, logits, rtol=1e-4, atol=1e-4)
    after = network.links[network.links.index(stage) + 1]
    behind = network.apply({**variables, "params": params}, tapped["intermediates"][after], after=after)
    np.testing.assert_allclose(behind, deep, rtol=1e-4, atol=1e-4)
