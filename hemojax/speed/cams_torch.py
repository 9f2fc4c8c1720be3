"""The same maps with PyTorch's libraries (requirements-compare.txt), at their default and at their best settings.

On a GPU where JAX runs on one, as `networks_torch` does it. All maps end up on the host, as hemojax's do.

What a first call costs there is not timed: cudnn's autotuner tries its kernels for each shape of each convolution,
forward and backward, and pytorch-grad-cam, which goes back through the whole network where the others stop at the
stage, meets shapes that nothing else has warmed up. What it does with numpy on the CPU for GradCAM at stage5 of an
EfficientNetV2-S takes 0.5 ms an image, most of it to bring maps to the image's size; with its best settings they stay
as small as everybody else's.
"""

import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchvision
from pytorch_grad_cam.utils.image import scale_cam_image
from safetensors.torch import load_file

from hemojax import models
from hemojax.speed.cams import CAPTUM, GRADCAM, LIBRARIES, TORCHCAM, Maps, Request, remembering
from hemojax.speed.networks import images
from hemojax.speed.networks_torch import autocast, set_up, settings, stage_modules
from hemojax.speed.timer import Prepared

METHODS = {name: getattr(pgc, of_theirs) for name, of_theirs in LIBRARIES[GRADCAM].items()}
ALIKE = {
    GRADCAM: frozenset(METHODS) - {"eigencam", "eigengradcam", "segeigencam", "kpcacam", "scorecam"},
    TORCHCAM: frozenset({"gradcam", "layercam", "xgradcam"}),
    CAPTUM: frozenset({"gradcam"}),
}
"""The methods that hemojax defines alike: the sign of theirs is not arbitrary, and ScoreCAM's masks are not."""
AT_ONCE = 8
"""Images, on a CPU: with 1, 2, 4 and 16 none of them made GradCAM at one stage faster (torch-cam at six, by 4 %)."""
AT_ONCE_ON_GPU = (8, 32, 128)
"""Of which the fastest is looked for before anything is timed."""
COPIES = 32
"""Masked or ablated copies of an image at once, or as many as images: the libraries' own number, but for
pytorch-grad-cam's ScoreCAM, which takes 16. Its AblationCAM keeps to 32, since its maps depend on that number."""

Modules = Mapping[str, torch.nn.Module]


class Way(NamedTuple):
    """How a library is run.

    Attributes:
        best: at its best settings.
        at_once: images, or copies of an image where there are more than that.
        dtype: float32, or bfloat16 for mixed precision.
    """

    best: bool
    at_once: int
    dtype: str


DEFAULT = Way(best=False, at_once=AT_ONCE, dtype="float32")


def cams(
    *,
    name: str,
    request: Request,
    size: int,
    weights: Path,
    maps: Path,
    library: str,
    best: bool,
    platform: str,
    dtype: str,
) -> Prepared:
    """The request, some images at a time, in as many passes as the library's interface needs.

    Args:
        name: torchvision's name of the network.
        request: what to make, of the library's methods.
        size: the images' side, in pixels.
        weights: a state dict as safetensors.
        maps: the file for the first run's maps, before they are resized, of the methods that hemojax defines alike.
        library: a key of `cams.LIBRARIES`.
        best: the images channels_last, the parameters frozen, and maps left as small as they are; otherwise as the
            library's own examples have it.
        platform: what hemojax runs on.
        dtype: float32, or bfloat16 for mixed precision.
    """
    device = set_up(platform)
    network = getattr(torchvision.models, name)(num_classes=1).eval()
    network.load_state_dict(load_file(weights))
    network = network.to(device)
    network.register_forward_hook(lambda module, inputs, logits: logits.float())  # numpy knows no bfloat16
    x = torch.from_numpy(images(request.batch, size)).permute(0, 3, 1, 2).contiguous().to(device)
    if best:
        network = network.to(memory_format=torch.channels_last).requires_grad_(False)
        x = x.contiguous(memory_format=torch.channels_last)
    modules = dict(zip(models.create(name, 1).stages, stage_modules(network), strict=True))
    make = {GRADCAM: _grad_cam, TORCHCAM: _torch_cam, CAPTUM: _captum}[library]

    def run(at_once: int, x: torch.Tensor) -> Maps:
        parts, way = [part.clone().requires_grad_(best) for part in x.split(at_once)], Way(best, at_once, dtype)
        with autocast(device, dtype):
            made = [make(network, modules, part, request, way) for part in parts]
        return {cell: np.concatenate([maps[cell] for maps in made]) for cell in made[0]}

    at_once = AT_ONCE if device == "cpu" else fastest(lambda number: run(number, x[:number]), AT_ONCE_ON_GPU)
    kind = "autocast" if dtype == "bfloat16" else dtype
    described = settings(device, kind, f"{at_once} at once")
    return Prepared([remembering(lambda: run(at_once, x), maps, ALIKE[library])], described)


def fastest(run: Callable[[int], Maps], numbers: Sequence[int]) -> int:
    """The number of images with which one takes least time, each after a run that does not count.

    A number for which the memory does not suffice, and what is above it, is left out, unless it is the first.
    """
    seconds: dict[int, float] = {}
    for number in numbers:
        try:
            made = run(number)
            begun = time.perf_counter()
            run(number)
        except torch.cuda.OutOfMemoryError:
            if not seconds:
                raise
            break
        seconds[number] = (time.perf_counter() - begun) / len(next(iter(made.values())))
    return min(seconds, key=lambda number: seconds[number])


def _grad_cam(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request, way: Way) -> Maps:
    first = [lambda logits: logits[0]] * len(x)
    return {
        (stage, method): scale_cam_image(
            np.maximum(explained(METHODS[method], network, modules[stage], x, first, way=way)[0], 0)
        )
        for stage in request.stages
        for method in request.methods
    }


def _torch_cam(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request, way: Way) -> Maps:
    """All stages in one pass; its masked images for each stage."""
    import torchcam.methods as library  # not needed by the golden files of the others

    found: Maps = {}
    for method in request.methods:
        copies = {"batch_size": max(COPIES, way.at_once)} if method == "scorecam" else {}
        with getattr(library, LIBRARIES[TORCHCAM][method])(
            network, [modules[stage] for stage in request.stages], **copies
        ) as cam:
            logits = network(x)
            given = {} if method == "scorecam" else {"scores": logits}
            made = cam([0] * len(x), **given)
        found |= {(stage, method): _on_host(one) for stage, one in zip(request.stages, made, strict=True)}
    return found


def _captum(network: torch.nn.Module, modules: Modules, x: torch.Tensor, request: Request, way: Way) -> Maps:
    """GradCAM; and AblationCAM of channels set to 0, from their ablation and the activations."""
    import captum.attr as library

    classes = {method: getattr(library, name) for method, name in LIBRARIES[CAPTUM].items()}
    copies = max(COPIES, way.at_once)
    found: Maps = {}
    for stage in request.stages:
        if "gradcam" in request.methods:
            raw = classes["gradcam"](network, modules[stage]).attribute(x, target=0, relu_attributions=True)
            found[stage, "gradcam"] = scale_cam_image(_on_host(raw[:, 0]))
        if "ablationcam_pgc" in request.methods:
            with torch.no_grad():
                output = library.LayerActivation(network, modules[stage]).attribute(x)
                channels = torch.arange(output.shape[1], device=x.device)[None, :, None, None]
                ablation = classes["ablationcam_pgc"](network, modules[stage])
                weights = ablation.attribute(
                    x, target=0, layer_mask=channels.expand(1, *output.shape[1:]), perturbations_per_eval=copies
                )
                raw = (weights * output).sum(1).clamp(min=0)
            found[stage, "ablationcam_pgc"] = scale_cam_image(_on_host(raw))
    return found


def _on_host(maps: torch.Tensor) -> np.ndarray:
    return maps.detach().float().cpu().numpy()


def explained(
    method: type,
    network: torch.nn.Module,
    module: torch.nn.Module,
    x: torch.Tensor,
    targets: Sequence[Any],
    *,
    way: Way = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """The library's map of each image: raw, before ReLU and scaling, and as it returns it.

    Nothing of an image is left behind: its graph goes with the object that made the map.
    """
    raw: list[np.ndarray] = []
    with method(network, [module]) as cam, contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        make = cam.get_cam_image

        def remember(*arguments: object) -> np.ndarray:
            raw.append(make(*arguments))
            return raw[-1]

        cam.get_cam_image = remember
        if method is pgc.ScoreCAM and way.at_once > COPIES:
            cam.batch_size = way.at_once
        if way.dtype == "bfloat16" and cam.detach:
            cam.activations_and_grads.reshape_transform = torch.Tensor.float  # numpy knows no bfloat16
        if way.best:
            cam.get_target_width_height = lambda _: None  # and so maps are not resized
        final = cam(x, targets)
        del cam.get_cam_image  # it refers to cam, whose gigabytes would wait for the garbage collector
    return raw[0], final
