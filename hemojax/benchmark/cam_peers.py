"""The same maps with PyTorch's libraries (requirements-compare.txt), at their default and at their best settings."""

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from safetensors.torch import load_file

from hemojax import models
from hemojax.benchmark.cam_workloads import CAPTUM, GRADCAM, LIBRARIES, TORCHCAM, Maps, Request, remembering
from hemojax.benchmark.peers import stage_modules
from hemojax.benchmark.workloads import Parts, images

METHODS = {name: getattr(pgc, of_theirs) for name, of_theirs in LIBRARIES[GRADCAM].items()}
ALIKE = {
    GRADCAM: frozenset(METHODS) - {"eigencam", "eigengradcam", "segeigencam", "kpcacam", "scorecam"},
    TORCHCAM: frozenset({"gradcam", "layercam", "xgradcam"}),
    CAPTUM: frozenset({"gradcam"}),
}
"""The methods that hemojax defines alike: the sign of theirs is not arbitrary, and ScoreCAM's masks are not."""
AT_ONCE = 8
"""Images: with 1, 2, 4 and 16 at once none of them made GradCAM at one stage faster (torch-cam at six, by 4 %)."""

Modules = Mapping[str, torch.nn.Module]


def cams(name: str, request: Request, size: int, weights: Path, maps: Path, library: str, best: bool) -> Parts:
    """The request, `AT_ONCE` images at a time, in as many passes as the library's interface needs.

    Args:
        name: torchvision's name of the network.
        request: what to make, of the library's methods.
        size: the images' side, in pixels.
        weights: a state dict as safetensors.
        maps: the file for the first run's maps, before they are resized, of the methods that hemojax defines alike.
        library: a key of `cam_workloads.LIBRARIES`.
        best: the images channels_last and the parameters frozen; otherwise as the library's own examples have it.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    network = getattr(torchvision.models, name)(num_classes=1).eval()
    network.load_state_dict(load_file(weights))
    x = torch.from_numpy(images(request.batch, size)).permute(0, 3, 1, 2).contiguous()
    if best:
        network = network.to(memory_format=torch.channels_last).requires_grad_(False)
        x = x.contiguous(memory_format=torch.channels_last)
    parts = [part.clone().requires_grad_(best) for part in x.split(AT_ONCE)]
    modules = dict(zip(models.create(name, 1).stages, stage_modules(network), strict=True))
    make = {GRADCAM: _grad_cam, TORCHCAM: _torch_cam, CAPTUM: _captum}[library]

    def once() -> Maps:
        made = [make(network, modules, part, request) for part in parts]
        return {cell: np.concatenate([maps[cell] for maps in made]) for cell in made[0]}

    return [remembering(once, maps, ALIKE[library])]


def _grad_cam(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request) -> Maps:
    first = [lambda logits: logits[0]] * len(x)
    return {
        (stage, method): scale_cam_image(
            np.maximum(explained(METHODS[method], network, modules[stage], x, first)[0], 0)
        )
        for stage in request.stages
        for method in request.methods
    }


def _torch_cam(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request) -> Maps:
    """All stages in one pass; its masked images for each stage."""
    import torchcam.methods as library  # not needed by the golden files of the others

    found: Maps = {}
    for method in request.methods:
        with getattr(library, LIBRARIES[TORCHCAM][method])(
            network, [modules[stage] for stage in request.stages]
        ) as cam:
            logits = network(x)
            given = {} if method == "scorecam" else {"scores": logits}
            made = cam([0] * len(x), **given)
        found |= {(stage, method): one.detach().numpy() for stage, one in zip(request.stages, made, strict=True)}
    return found


def _captum(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request) -> Maps:
    """GradCAM; and AblationCAM of channels set to 0, from their ablation, 32 at a time, and the activations."""
    import captum.attr as library

    classes = {method: getattr(library, name) for method, name in LIBRARIES[CAPTUM].items()}
    found: Maps = {}
    for stage in request.stages:
        if "gradcam" in request.methods:
            raw = classes["gradcam"](network, modules[stage]).attribute(x, target=0, relu_attributions=True)
            found[stage, "gradcam"] = scale_cam_image(raw[:, 0].detach().numpy())
        if "ablationcam_pgc" in request.methods:
            with torch.no_grad():
                output = library.LayerActivation(network, modules[stage]).attribute(x)
                channels = torch.arange(output.shape[1])[None, :, None, None].expand(1, *output.shape[1:])
                ablation = classes["ablationcam_pgc"](network, modules[stage])
                weights = ablation.attribute(x, target=0, layer_mask=channels, perturbations_per_eval=32)
                raw = (weights * output).sum(1).clamp(min=0)
            found[stage, "ablationcam_pgc"] = scale_cam_image(raw.numpy())
    return found


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
        del cam.get_cam_image  # it refers to cam, whose gigabytes would wait for the garbage collector
    return raw[0], final
