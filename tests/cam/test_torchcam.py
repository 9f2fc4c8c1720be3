"""Parity with torch-cam 0.5.0, and with FullGrad and the smoothing of grad-cam 1.5.7; see golden/make_torchcam.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam import golden_scripts
from cam.toy import Toy

from hemojax import cam
from hemojax.cam import inputs, masks
from hemojax.cam.eigen import principal_projection
from hemojax.cam.inputs import gather, tapped
from hemojax.cam.postprocess import heat

STAGE = "stage2"


@pytest.fixture(scope="module")
def golden():
    with (
        np.load(golden_scripts.FOLDER / "torchcam.npz") as theirs,
        np.load(golden_scripts.FOLDER / "pytorch_grad_cam.npz") as shared,
    ):
        return dict(shared) | dict(theirs)


@pytest.fixture
def given(golden):
    """Network, variables, images and target, in float64."""
    with jax.enable_x64(True):
        params = {
            layer: {kind: jnp.asarray(golden[f"params/{layer}/{kind}"]) for kind in ("kernel", "bias")}
            for layer in ("conv_stage1", "conv_stage2", "conv_stage3", "dense")
        }
        target = cam.Target(jnp.asarray(golden["labels"]), jnp.asarray(golden["signs"]))
        yield Toy(activation="relu"), {"params": params}, jnp.asarray(golden["images"]), target


def maps(method, given, **options):
    """Raw maps after the ReLU, as torch-cam gives them."""
    network, variables, images, target = given
    method = cam.METHODS[method]
    asked = {"stages": (STAGE,), "needs": method.needs, "seeds": 1, "chunk": 8, "platform": "cpu"} | options
    run = jax.jit(lambda: gather(network, variables, images, target, jnp.arange(2), **asked)[1][STAGE])
    return np.maximum(jax.vmap(method.fn)(run()), 0)


def assert_same(mine, theirs, tolerance=1e-9):
    assert np.abs(theirs).max() > 1e-3
    np.testing.assert_allclose(mine, theirs, atol=tolerance * np.abs(theirs).max(), rtol=0)


def test_iscam(golden, given):
    assert_same(maps("iscam", given), golden["iscam"])


def test_sscam(golden, given, monkeypatch):
    noise = jnp.asarray(golden["noise/sscam"]) / masks.NOISE_OF_MASKS  # samples, images, channels, height, width
    numbered = jnp.moveaxis(noise, 1, 0).reshape(noise.shape[1], -1, *noise.shape[3:])
    monkeypatch.setattr(masks, "NOISY_MASKS", len(noise))
    monkeypatch.setattr(masks, "_noise", lambda keys, numbers, size: numbered[:, numbers])
    assert_same(maps("sscam", given), golden["sscam"])


def test_smoothgradcam_plus_plus(golden, given):
    """The weights are theirs, of one noisy image: of several they take the last one's gradient, the paper the mean.

    They weigh the activations of the last noisy image, hemojax those of the image itself.
    """
    network, variables, images, target = given
    noise = jnp.asarray(golden["noise/smoothgradcam++"][0].transpose(0, 2, 3, 1))
    pass_ = jax.jit(lambda x: tapped(network, variables, x, target, stages=(STAGE,), differentiated=(STAGE,))[1:])
    (clean, _), (noisy, gradients) = (tuple(found[STAGE] for found in pass_(x)) for x in (images, images + noise))
    known = cam.Inputs(clean, noisy_gradients=gradients[:, None])
    contributions = jax.vmap(cam.METHODS["smoothgradcam++"].contributions)(known)
    weights = contributions.sum((1, 2)) / clean.sum((1, 2))
    assert_same(np.maximum(np.einsum("bhwk,bk->bhw", noisy, weights), 0), golden["smoothgradcam++"])


def test_noisy_gradients_are_those_of_noisy_images(given):
    """Each sample has its own noise, of standard deviation 0.3, whatever its place in the batch."""
    network, variables, images, target = given
    keys = jax.vmap(partial(cam.random.sample_keys, stage=inputs.OF_THE_IMAGE, seeds=3))(jnp.array([4, 9]))

    def gradients(keys, images, target):
        return inputs.noisy_gradients(network, variables, images, target, keys=keys, stages=(STAGE,))[STAGE]

    found = jax.jit(gradients)(keys, images, target)
    assert found.shape == (2, 3, 4, 6, 6)
    assert len(np.unique(np.asarray(found).reshape(6, -1), axis=0)) == 6
    turned = jax.jit(gradients)(keys[::-1], images[::-1], jax.tree.map(lambda leaf: leaf[::-1], target))
    np.testing.assert_allclose(turned[::-1], found, atol=1e-12)
    first = images[:1] + 0.3 * jax.random.normal(keys[0, 1], images.shape[1:], images.dtype)
    only = cam.Target(target.label[:1], target.sign[:1])
    expected = jax.jit(lambda x: tapped(network, variables, x, only, stages=(STAGE,), differentiated=(STAGE,)))(first)[
        2
    ][STAGE]
    np.testing.assert_allclose(found[:1, 1], expected, atol=1e-12)


@pytest.mark.parametrize("base", ["gradcam", "layercam"])
def test_finercam_is_a_target(golden, given, base):
    network, variables, images, target = given
    logits = jax.jit(network.apply)(variables, images)
    finer = cam.contrast(logits, target.label, references=1)
    assert_same(maps(base, (network, variables, images, finer)), golden[f"finercam/{base}"])


def test_fullgrad(golden, given):
    network, variables, images, target = given
    found = jax.jit(partial(cam.fullgrad, network, variables))(images, target)
    assert_same(found, golden["fullgrad"], 2e-6)  # theirs is scaled and resized in float32


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_aug_smooth(golden, given, method):
    network, variables, images, target = given
    asked = {"methods": (method,), "stages": (STAGE,), "target": target}
    found = cam.explain(network, variables, images, **asked, aug_smooth=True).maps[STAGE, method]
    assert_same(found, golden[f"aug_smooth/{method}"], 5e-6)  # theirs is scaled in float32


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_eigen_smooth(golden, given, method):
    """Up to the sign, which is arbitrary in theirs: hemojax's correlates with the sum."""
    network, variables, images, target = given
    asked = {"methods": (method,), "stages": (STAGE,), "target": target}
    found = cam.explain(network, variables, images, **asked, eigen_smooth=True).maps[STAGE, method]
    needs = {"stages": (STAGE,), "needs": cam.METHODS[method].needs, "seeds": 1, "chunk": 8, "platform": "cpu"}
    known = jax.jit(lambda: gather(network, variables, images, target, jnp.arange(2), **needs)[1][STAGE])()
    terms = jax.vmap(cam.METHODS[method].contributions)(known)
    for number, theirs in enumerate(golden[f"eigen_smooth/{method}"]):
        projection = principal_projection(terms[number])
        assert jnp.sum(projection * terms[number].sum(-1)) > 0
        either = [cam.full_heat(heat(sign * projection), theirs.shape) for sign in (1, -1)]
        assert min(np.abs(one - theirs).max() for one in either) < 5e-6
        np.testing.assert_allclose(cam.full_heat(found[number], theirs.shape), either[0], atol=1e-9)


@pytest.mark.peers
def test_golden_file_is_what_the_libraries_give(golden):
    for library in ("torch", "pytorch_grad_cam", "torchcam"):
        pytest.importorskip(library, reason=f"{library} is not installed (requirements-compare.txt)")
    for name, values in golden_scripts.load("make_torchcam").make().items():
        np.testing.assert_allclose(values, golden[name], rtol=1e-6, atol=1e-9, err_msg=name)
