"""Parity with pytorch-grad-cam 1.5.7 in float64; see golden/make_golden.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam import golden_scripts
from cam.toy import Toy

from hemojax import cam
from hemojax.cam.inputs import gather
from hemojax.cam.postprocess import full_heat, heat

pytestmark = pytest.mark.end_to_end

GOLDEN = golden_scripts.FOLDER / "pytorch_grad_cam.npz"
METHODS = [
    "gradcam", "hirescam", "gradcam_elementwise", "gradcam++", "xgradcam", "layercam", "shapleycam", "eigencam",
    "eigengradcam", "segeigencam", "kpcacam", "fem", "ablationcam_pgc", "scorecam",
]  # fmt: skip
# grad-cam keeps these in float32: the projections, the ablated and the masked scores.
EIGEN = ("eigencam", "eigengradcam", "kpcacam")  # the sign of a singular vector is arbitrary in theirs
TOLERANCE = dict.fromkeys((*EIGEN, "segeigencam", "ablationcam_pgc", "scorecam"), 1e-6)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def ours(golden):
    """Logits and raw maps by activation function, stage and method, in float64."""

    def explain(network, arrays):
        params = {
            layer: {kind: arrays[f"params/{layer}/{kind}"] for kind in ("kernel", "bias")}
            for layer in ("conv_stage1", "conv_stage2", "conv_stage3", "dense")
        }
        target = cam.Target(arrays["labels"], arrays["signs"])
        needs = frozenset({"gradients", "curvature", "score", "ablated_scores", "pgc_ablated_scores", "masked_scores"})
        options = {"stages": network.stages, "needs": needs, "seeds": 1, "chunk": 8, "platform": "cpu"}
        logits, inputs = gather(network, {"params": params}, arrays["images"], target, jnp.arange(2), **options)
        names = (*METHODS, "ablationcam")
        return logits, {(s, name): jax.vmap(cam.METHODS[name].fn)(inputs[s]) for s in network.stages for name in names}

    with jax.enable_x64(True):
        arrays = {name: jnp.asarray(values) for name, values in golden.items()}
        return {
            activation: jax.tree.map(np.asarray, jax.jit(partial(explain, Toy(activation=activation)))(arrays))
            for activation in ("silu", "relu")
        }


def raw(golden, activation, stage, method):
    return golden[f"raw/{activation}/{stage}/{method.removesuffix('_pgc')}"]


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_logits(golden, ours, activation):
    np.testing.assert_allclose(ours[activation][0], golden[f"logits/{activation}"], rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_raw_maps(golden, ours, activation, stage, method):
    theirs, mine = raw(golden, activation, stage, method), ours[activation][1][stage, method]
    assert mine.dtype == np.float64
    if method in EIGEN:
        mine = mine * np.sign(np.sum(mine * theirs, axis=(1, 2), keepdims=True))
    scale = np.abs(theirs).max()
    assert scale > 0
    np.testing.assert_allclose(mine / scale, theirs / scale, atol=TOLERANCE.get(method, 1e-12), rtol=0)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_ablation_of_rectified_stages(golden, ours, stage):
    """Where the least activation is 0 theirs is the paper's too, but for the sign of the map of a negative score."""
    theirs = raw(golden, "relu", stage, "ablationcam")
    signs = golden["signs"] * np.sign(golden["logits/relu"][[0, 1], golden["labels"]])
    assert set(signs) == {-1, 1}
    np.testing.assert_allclose(ours["relu"][1][stage, "ablationcam"], theirs * signs[:, None, None], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_final_maps(golden, ours, method):
    theirs = golden[f"final/relu/stage2/{method.removesuffix('_pgc')}"]
    mine = ours["relu"][1]["stage2", method]
    if method in EIGEN:
        opposed = raw(golden, "relu", "stage2", method)
        mine = mine * np.sign(np.sum(mine * opposed, axis=(1, 2), keepdims=True))
    mine = jax.vmap(lambda one: full_heat(heat(one), theirs.shape[1:]))(mine.astype(np.float32))
    np.testing.assert_allclose(mine, theirs, atol=2e-6)


@pytest.mark.parametrize(
    ("fuse", "name", "method"), [(cam.fuse_mean, "mean", "layercam"), (cam.fuse_product, "product", "gradcam++")]
)
def test_fusion_of_stages(golden, ours, fuse, name, method):
    theirs = golden[f"fused/{name}/{method}"]
    stages = [ours["relu"][1][f"stage{i}", method].astype(np.float32) for i in (1, 2, 3)]
    mine = jax.vmap(lambda *maps: fuse([heat(one) for one in maps], theirs.shape[1:]))(*stages)
    np.testing.assert_allclose(mine, theirs, atol=5e-6)


@pytest.mark.peers
def test_golden_file_is_what_the_library_gives(golden):
    pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed (requirements-compare.txt)")
    made = golden_scripts.load("make_golden").make()
    assert made.keys() == golden.keys()
    for name, values in made.items():
        np.testing.assert_allclose(values, golden[name], rtol=1e-6, atol=1e-9, err_msg=name)
