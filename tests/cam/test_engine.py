"""The engine as a whole, on a small network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam.toy import Toy, compiled, images, variables

from hemojax import cam
from hemojax.cam import targets
from hemojax.cam.inputs import NEEDS, curvature, gather, tapped
from hemojax.cam.method import Inputs
from hemojax.cam.registry import METHODS, costly
from hemojax.config import defaults
from hemojax.errors import UserError
from hemojax.models import create
from hemojax.models.efficientnet import EfficientNet, StageSpec

# Unoptimised programs compile sooner.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
NETWORK = Toy()
VARIABLES = variables(NETWORK)
IMAGES = images(4)
TARGET = cam.Target(jnp.array([0, 2, 1, 0]), jnp.array([1.0, -1.0, 1.0, -1.0]))
IDENTITIES = jnp.array([11, 5, 7, 900])
STAGED = tuple(name for name, method in cam.METHODS.items() if not method.linear)
EFFICIENTNET = EfficientNet(3, table=(StageSpec(True, 1, 1, 4, 1), StageSpec(False, 4, 2, 6, 1)), stem=4, head=8)


def every_method(chunk):
    return cam.build(NETWORK, STAGED, ("stage1", "stage3"), seeds=2, chunk=chunk, compiler_options=QUICK)


@pytest.fixture(scope="module")
def engine():
    return every_method(chunk=64)


@pytest.fixture(scope="module")
def explanation(engine):
    return engine(VARIABLES, IMAGES, TARGET, IDENTITIES)


def test_shapes_and_range(explanation):
    assert explanation.logits.shape == (4, 3)
    assert set(explanation.maps) == {(stage, method) for stage in ("stage1", "stage3") for method in STAGED}
    for (stage, method), maps in explanation.maps.items():
        size = {"stage1": (8, 12), "stage3": (2, 3)}[stage]
        assert maps.shape == ((4, 2, *size) if method == "randomcam" else (4, *size))
        assert maps.min() == 0
        assert maps.max() <= 1
    np.testing.assert_allclose(explanation.logits, compiled(NETWORK)(VARIABLES, IMAGES), atol=1e-5)


@pytest.mark.end_to_end
@pytest.mark.parametrize(("order", "chunk"), [([3, 0, 2, 1], 64), ([2], 3)])
def test_neither_batch_nor_order_nor_chunk_matters(engine, explanation, order, chunk):
    chosen = engine if chunk == 64 else every_method(chunk)
    taken = jnp.array(order)
    again = chosen(VARIABLES, IMAGES[taken], jax.tree.map(lambda t: t[taken], TARGET), IDENTITIES[taken])
    np.testing.assert_allclose(again.logits, explanation.logits[jnp.array(order)], atol=1e-5)
    for cell, maps in again.maps.items():
        np.testing.assert_allclose(maps, explanation.maps[cell][jnp.array(order)], atol=2e-4, err_msg=str(cell))


def gradients_by_vjp(stage):
    """Activations of a stage and the gradient of the targets' scores, through the suffix alone."""
    a = compiled(NETWORK, until=stage)(VARIABLES, IMAGES)

    def pulled(a):
        logits, pull = jax.vjp(lambda a: NETWORK.apply(VARIABLES, a, after=stage), a)
        return pull(jnp.zeros_like(logits).at[jnp.arange(4), TARGET.label].set(TARGET.sign))[0]

    return a, jax.jit(pulled)(a)


def test_maps_are_the_methods_after_relu_and_scaling(explanation):
    for stage in ("stage1", "stage3"):
        a, gradients = gradients_by_vjp(stage)
        for method in ("gradcam", "layercam"):
            raw = np.maximum(cam.METHODS[method].fn(cam.Inputs(a[1], gradients[1])), 0)
            expected = (raw - raw.min()) / (1e-7 + (raw - raw.min()).max())
            np.testing.assert_allclose(explanation.maps[stage, method][1], expected, atol=2e-4)


def test_gradients_of_all_stages_come_from_one_pass():
    run = jax.jit(lambda x: tapped(NETWORK, VARIABLES, x, TARGET, stages=NETWORK.stages, differentiated=NETWORK.stages))
    _, activations, gradients = run(IMAGES)
    assert set(gradients) == set(NETWORK.stages)
    for stage in NETWORK.stages:
        a, expected = gradients_by_vjp(stage)
        np.testing.assert_allclose(activations[stage], a, atol=1e-5)
        np.testing.assert_allclose(gradients[stage], expected, atol=1e-5)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("differentiated", [(), ("stage1",)])
def test_inner_taps_cost_nothing_unless_they_are_asked_for(differentiated):
    def of_stage(network):
        shapes = jax.eval_shape(network.init, jax.random.key(0), IMAGES)
        given = {name: shapes[name] for name in ("params", "batch_stats")}
        run = jax.jit(
            lambda given: tapped(network, given, IMAGES, TARGET, stages=("stage1",), differentiated=differentiated)
        )
        assert set(jax.eval_shape(run, given)[1]) == {"stage1"}
        cost = run.lower(given).compile(QUICK).cost_analysis()
        return cost["flops"], cost["bytes accessed"]

    class WithoutTaps(EfficientNet):
        taps = ()

    assert of_stage(EFFICIENTNET) == of_stage(WithoutTaps(3, table=EFFICIENTNET.table, stem=4, head=8))


@pytest.mark.end_to_end
def test_every_method_runs_at_inner_taps_alone():
    explain = cam.build(EFFICIENTNET, STAGED, EFFICIENTNET.taps, seeds=2, compiler_options=QUICK)
    made = jax.jit(EFFICIENTNET.init)(jax.random.key(0), IMAGES)
    given = {name: made[name] for name in ("params", "batch_stats")}
    maps = explain(given, IMAGES, TARGET, IDENTITIES).maps
    assert set(maps) == {("stage1/expand", method) for method in STAGED}
    for (_, method), found in maps.items():
        assert found.shape == ((4, 2, 8, 12) if method == "randomcam" else (4, 8, 12))
        assert found.min() == 0
        assert 0.99 < found.max() <= 1, method


def test_seeds_of_randomcam_differ_and_do_not_depend_on_their_number(explanation):
    engine = cam.build(NETWORK, ("randomcam",), ("stage1",), seeds=3, compiler_options=QUICK)
    more = engine(VARIABLES, IMAGES, TARGET, IDENTITIES).maps["stage1", "randomcam"]
    maps = explanation.maps["stage1", "randomcam"]
    np.testing.assert_allclose(more[:, :2], maps, atol=1e-5)
    assert np.abs(maps[:, 0] - maps[:, 1]).max() > 0.1


def test_the_negative_class_turns_the_gradients_around():
    run = jax.jit(
        lambda target: tapped(NETWORK, VARIABLES, IMAGES, target, stages=("stage2",), differentiated=("stage2",))
    )
    _, _, gradients = run(TARGET)
    _, _, turned = run(TARGET._replace(sign=-TARGET.sign))
    np.testing.assert_allclose(turned["stage2"], -gradients["stage2"], rtol=1e-5)


@pytest.mark.parametrize("case", ["constant images", "dead network", "huge"])
def test_nothing_is_ever_nan(engine, case):
    given, x = VARIABLES, IMAGES
    if case == "constant images":
        x = jnp.full_like(IMAGES, 0.7)
    elif case == "dead network":  # every activation, gradient and score is zero
        given = jax.tree.map(jnp.zeros_like, VARIABLES)
    else:
        x = 1e4 * IMAGES
    explanation = engine(given, x, TARGET, IDENTITIES)
    for maps in jax.tree.leaves(explanation):
        assert np.isfinite(maps).all()
    if case == "dead network":
        assert all((maps == 0).all() for maps in explanation.maps.values())


def test_a_blank_image_leaves_the_others_alone(engine, explanation):
    others = jnp.array([0, 2, 3])
    for cell, maps in engine(VARIABLES, IMAGES.at[1].set(0), TARGET, IDENTITIES).maps.items():
        np.testing.assert_allclose(maps[others], explanation.maps[cell][others], atol=1e-5, err_msg=str(cell))


def test_gradients_are_computed_only_where_needed():
    def gathered(needs):
        inputs = {"stages": ("stage2",), "needs": frozenset(needs), "seeds": 1, "chunk": 4, "platform": "cpu"}
        return jax.eval_shape(lambda: gather(NETWORK, VARIABLES, IMAGES, TARGET, IDENTITIES, **inputs))[1]["stage2"]

    assert gathered([]).gradients is None
    assert gathered(["gradients"]).gradients.shape == (4, 4, 6, 6)
    assert gathered(["gradients"]).score is None


def test_one_compilation_for_each_shape():
    engine = cam.build(NETWORK, ("gradcam",), ("stage2",))
    for seed in range(3):
        engine(VARIABLES, images(4, seed), targets.fixed(seed, 4), IDENTITIES + seed)
    assert engine._outermost._cache_size() == 1


def test_a_stage_may_be_named_in_two_ways():
    maps = cam.build(NETWORK, ("gradcam",), ("last", "stage3"))(
        VARIABLES, images(1), targets.fixed(0, 1), IDENTITIES[:1]
    ).maps
    assert np.array_equal(maps["last", "gradcam"], maps["stage3", "gradcam"])


@pytest.mark.parametrize(
    ("methods", "stages", "message"),
    [
        (["gradcamm"], ["stage1"], "no method 'gradcamm': did you mean 'gradcam'"),
        (["gradcam"], ["stage9"], "no stage 'stage9': did you mean 'stage\\d'\\? There are stem, stage1"),
    ],
)
def test_unknown_names(methods, stages, message):
    with pytest.raises(UserError, match=message):
        cam.build(create("resnet18", 1), methods, stages)


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_curvature_is_the_hessian_times_the_activations(stage):
    a = compiled(NETWORK, until=stage)(VARIABLES, IMAGES)

    def of_one(a, label, sign):
        def scored(flat):
            return sign * NETWORK.apply(VARIABLES, flat.reshape(1, *a.shape), after=stage)[0, label]

        return (jax.hessian(scored)(a.ravel()) @ a.ravel()).reshape(a.shape)

    expected = jax.jit(jax.vmap(of_one))(a, TARGET.label, TARGET.sign)
    found = jax.jit(lambda a: curvature(partial(NETWORK.apply, VARIABLES, after=stage), a, TARGET))(a)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-4 * float(np.abs(expected).max()))


def test_every_need_has_a_maker_and_every_costly_method_its_limits():
    fields = set(Inputs._fields) - {"activations"}
    assert fields == set(NEEDS)
    assert set().union(*(method.needs for method in METHODS.values())) <= fields
    section = defaults().cam
    for name in METHODS:
        assert costly(name) == (name in section), name
        if costly(name):
            assert {"slices", "stages"} <= set(section[name])
