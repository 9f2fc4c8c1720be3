"""The maps that are timed, and that pytorch-grad-cam makes the same ones."""

import importlib
import time

import numpy as np
import pytest

from hemojax import cam, models
from hemojax.speed import cam_operations, cams, networks
from hemojax.speed.cams import Request
from hemojax.speed.timer import Prepared

pytestmark = pytest.mark.end_to_end


def maps(module, request, tmp_path, **options):
    tmp_path.mkdir(exist_ok=True)
    weights = tmp_path / "weights.safetensors"
    cams.make_weights(weights, "resnet18")
    path = tmp_path / f"{module.__name__}.npz"
    options = {"dtype": "float32"} | options
    prepared = module.cams(name="resnet18", request=request, size=64, weights=weights, maps=path, **options)
    (part,) = prepared.parts if isinstance(prepared, Prepared) else prepared
    part()
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("network", "stages"),
    [("resnet50", ["stage2", "stage3", "stage4"]), ("efficientnet_v2_s", ["stage5", "stage6", "head"])],
)
def test_requests_look_at_the_last_stages(network, stages):
    found = cams.requests(models.create(network, 1), 16)
    assert [request.stages[0] for name, request in found.items() if name.startswith("AblationCAM")] == stages
    assert all(request.batch >= 1 for request in found.values())


def test_maps_of_the_first_run_are_left_in_a_file(tmp_path):
    found = maps(cams, Request(("gradcam", "eigencam"), ("stage3",), 2), tmp_path, chunk=64)
    assert {name: values.shape for name, values in found.items()} == {
        f"stage3/{method}": (2, 4, 4) for method in ("gradcam", "eigencam")
    }


@pytest.mark.peers
@pytest.mark.parametrize("best", [False, True])
def test_pytorch_grad_cam_makes_the_same_maps(tmp_path, best):
    pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed (requirements-compare.txt)")
    request = Request(("gradcam", "layercam", "hirescam", "ablationcam_pgc"), ("stage2", "stage4"), 2)
    ours = maps(cams, request, tmp_path, chunk=64)
    peers = importlib.import_module("hemojax.speed.cams_torch")
    theirs = maps(peers, request, tmp_path, library=cams.GRADCAM, best=best, platform="cpu")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=5e-3, err_msg=name)


@pytest.mark.peers
@pytest.mark.parametrize("library", [cams.TORCHCAM, cams.CAPTUM])
def test_the_other_libraries_make_the_same_maps_where_they_define_them_alike(tmp_path, library):
    for package in ("torch", cams.PACKAGES[library]):
        pytest.importorskip(package, reason=f"{package} is not installed (requirements-compare.txt)")
    peers = importlib.import_module("hemojax.speed.cams_torch")
    methods = tuple(sorted(cams.LIBRARIES[library].keys() - {"scorecam"}))
    request = Request(methods, ("stage3", "stage4"), 2)
    ours = maps(cams, request, tmp_path, chunk=64)
    theirs = maps(peers, request, tmp_path, library=library, best=True, platform="cpu")
    assert len(theirs) == 2 * len(set(methods) & peers.ALIKE[library])
    for name in theirs:
        np.testing.assert_allclose(theirs[name], ours[name], atol=5e-3, err_msg=name)


@pytest.mark.peers
@pytest.mark.parametrize("library", cams.LIBRARIES)
def test_every_library_works_in_mixed_precision(tmp_path, library):
    for package in ("torch", cams.PACKAGES[library]):
        pytest.importorskip(package, reason=f"{package} is not installed (requirements-compare.txt)")
    peers = importlib.import_module("hemojax.speed.cams_torch")
    request = Request(("gradcam",), ("stage3",), 2)
    theirs = {
        dtype: maps(peers, request, tmp_path / dtype, library=library, best=True, platform="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    exact, mixed = (made["stage3/gradcam"] for made in theirs.values())
    assert exact.dtype == mixed.dtype == np.float32
    assert 0 < np.abs(exact - mixed).max() < 0.2


@pytest.mark.peers
def test_the_number_of_images_at_once_is_the_fastest():
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    peers = importlib.import_module("hemojax.speed.cams_torch")
    seconds = {8: 0.03, 32: 0.02}

    def run(number):
        if number not in seconds:
            raise torch.cuda.OutOfMemoryError
        time.sleep(seconds[number])
        return {("stage4", "gradcam"): np.zeros((number, 2, 2))}

    assert peers.fastest(run, (8, 32, 128)) == 32
    with pytest.raises(torch.cuda.OutOfMemoryError):
        peers.fastest(run, (128, 8))


def test_the_libraries_methods_are_those_that_are_counted():
    assert set(cams.GRID) | {"scorecam"} <= cams.LIBRARIES[cams.GRADCAM].keys() <= set(cam.METHODS)
    assert {name for methods in cams.LIBRARIES.values() for name in methods} <= set(cam.METHODS)


def test_work_is_counted_in_runs_of_the_network():
    """Of ResNet-18's stages: a forward (1), what follows stage3 (s), channels of stage3 (256) and stage4 (512)."""
    whole, s = networks.flop("resnet18", 64), networks.flop("resnet18", 64, "stage3")
    assert networks.flop("resnet18", 64, "stage4") == 0 < s < whole

    def ours(methods, stages, batch=1):
        return cam_operations.ours("resnet18", Request(methods, stages, batch), 64)

    assert ours(("gradcam", "layercam"), ("stage4", "stage3"), 2) == 2 * (whole + s)
    assert ours(("eigencam",), ("stage3",)) == whole
    assert ours(("ablationcam",), ("stage3", "stage4")) == whole + 256 * s
    assert ours(("scorecam",), ("stage3",)) == 257 * whole

    def theirs(library, methods, stages, best=True):
        return cam_operations.theirs("resnet18", Request(methods, stages, 1), 64, library, best)

    assert theirs(cams.GRADCAM, ("gradcam", "layercam"), ("stage3", "stage4")) == 8 * whole
    assert theirs(cams.GRADCAM, ("gradcam",), ("stage3",), best=False) == 3 * whole
    assert theirs(cams.GRADCAM, ("ablationcam_pgc",), ("stage4",)) == 513 * whole
    assert theirs(cams.TORCHCAM, ("gradcam", "layercam"), ("stage3", "stage4")) == 2 * (whole + s)
    assert theirs(cams.CAPTUM, ("gradcam",), ("stage3", "stage4")) == 2 * whole + s
