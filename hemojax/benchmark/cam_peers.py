"""The same maps with pytorch-grad-cam (requirements-compare.txt), at its default and at its best settings."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from safetensors.torch import load_file

from hemojax import models
from hemojax.benchmark.cam_workloads import Maps, Request, remembering
from hemojax.benchmark.peers import stage_modules
from hemojax.benchmark.workloads import Parts, images

METHODS = {
    "gradcam": pgc.GradCAM,
    "hirescam": pgc.HiResCAM,
    "gradcam_elementwise": pgc.GradCAMElementWise,
    "gradcam++": pgc.GradCAMPlusPlus,
    "xgradcam": pgc.XGradCAM,
    "layercam": pgc.LayerCAM,
    "eigencam": pgc.EigenCAM,
    "eigengradcam": pgc.EigenGradCAM,
    "shapleycam": pgc.ShapleyCAM,
    "segeigencam": pgc.SegEigenCAM,
    "kpcacam": pgc.KPCA_CAM,
    "fem": pgc.FEM,
    "ablationcam_pgc": pgc.AblationCAM,
    "scorecam": pgc.ScoreCAM,
}


def cams(name: str, request: Request, size: int, weights: Path, maps: Path, best: bool) -> Parts:
    """The request, one pass of the library for each method and stage, as its interface has it.

    Args:
        name: torchvision's name of the network.
        request: what to make.
        size: the images' side, in pixels.
        weights: a state dict as safetensors.
        maps: the file for the maps of the first run: those that the methods make, before they are resized.
        best: the images channels_last and the parameters frozen; otherwise as the library's own examples have it.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    network = getattr(torchvision.models, name)(num_classes=1).eval()
    network.load_state_dict(load_file(weights))
    x = torch.from_numpy(images(request.batch, size)).permute(0, 3, 1, 2).contiguous()
    if best:
        network = network.to(memory_format=torch.channels_last).requires_grad_(False)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    first = [lambda logits: logits[0]] * len(x)
    modules = dict(zip(models.create(name, 1).stages, stage_modules(network), strict=True))

    def once() -> Maps:
        return {
            (stage, method): scale_cam_image(
                np.maximum(explained(METHODS[method], network, modules[stage], x, first)[0], 0)
            )
            for stage in request.stages
            for method in request.methods
        }

    return [remembering(once, maps)]


def explained(
    method: type, network: torch.nn.Module, module: torch.nn.Module, x: torch.Tensor, targets: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The library's map of each image: raw, before ReLU and scaling, and as it returns it."""
    raw: list[np.ndarray] = []
    with method(network, [module]) as cam, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        make = cam.get_cam_image

        def remember(*arguments: object) -> np.ndarray:
            raw.append(make(*arguments))
            return raw[-1]

        cam.get_cam_image = remember
        final = cam(x, targets)
    return raw[0], final
