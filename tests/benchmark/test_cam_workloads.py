"""The maps that are timed, and that pytorch-grad-cam makes the same ones."""

import importlib

import numpy as np
import pytest

from hemojax import models
from hemojax.benchmark import cam_workloads
from hemojax.benchmark.cam_workloads import Request


def maps(module, request, tmp_path, **options):
    weights = tmp_path / "weights.safetensors"
    cam_workloads.make_weights(weights, "resnet18")
    path = tmp_path / f"{module.__name__}.npz"
    (part,) = module.cams("resnet18", request, 64, weights, path, **options)
    part()
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("network", "stages"),
    [("resnet50", ["stage2", "stage3", "stage4"]), ("efficientnet_v2_s", ["stage5", "stage6", "head"])],
)
def test_requests_look_at_the_last_stages(network, stages):
    found = cam_workloads.requests(models.create(network, 1))
    assert [request.stages[0] for name, request in found.items() if name.startswith("AblationCAM")] == stages
    assert all(request.batch >= 1 for request in found.values())


def test_maps_of_the_first_run_are_left_in_a_file(tmp_path):
    found = maps(cam_workloads, Request(("gradcam", "eigencam"), ("stage3",), 2), tmp_path)
    assert {name: values.shape for name, values in found.items()} == {
        f"stage3/{method}": (2, 4, 4) for method in ("gradcam", "eigencam")
    }


@pytest.mark.peers
@pytest.mark.parametrize("best", [False, True])
def test_pytorch_grad_cam_makes_the_same_maps(tmp_path, best):
    pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed (requirements-compare.txt)")
    request = Request(("gradcam", "layercam", "hirescam", "ablationcam_pgc"), ("stage2", "stage4"), 2)
    ours = maps(cam_workloads, request, tmp_path)
    theirs = maps(importlib.import_module("hemojax.benchmark.cam_peers"), request, tmp_path, best=best)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=5e-3, err_msg=name)
