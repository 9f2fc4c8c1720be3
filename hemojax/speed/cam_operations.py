"""How many operations class activation maps take: hemojax's, and those of the PyTorch libraries.

Counted in multiplications and additions of convolutions on feature maps; a backward pass to activations takes as many
as the forward pass of the same layers, one to parameters as many again.
"""

import jax
import jax.numpy as jnp

from hemojax import models
from hemojax.cam.inputs import ABLATED
from hemojax.cam.registry import METHODS
from hemojax.speed import networks
from hemojax.speed.cams import GRADCAM, TORCHCAM, Request


def ours(name: str, request: Request, size: int) -> int:
    """One forward; one backward to the earliest stage; behind it, a run for each ablated channel or masked image.

    Args:
        name: a key of `models.MODELS`.
        request: the maps.
        size: side of the image, in pixels.
    """
    network = models.create(name, 1)
    needs = frozenset[str]().union(*(METHODS[method].needs for method in request.methods))
    ablations = len(needs & ABLATED)
    total = networks.flop(name, size)
    if "gradients" in needs:
        total += networks.flop(name, size, _earliest(name, request))
    for stage, channels in _channels(name, request, size).items():
        suffix = networks.flop(name, size, stage)
        total += 4 * suffix * ("curvature" in needs)
        if stage in network.pointwise_after:  # begun once for all its channels
            suffix = networks.flop(name, size, f"{stage}/affine")
        if stage != network.linear_after:
            total += suffix * channels * ablations
        total += networks.flop(name, size) * channels * ("masked_scores" in needs)
    return request.batch * total


def theirs(name: str, request: Request, size: int, library: str, best: bool) -> int:
    """The whole network for each method, and again for each ablated channel or masked image.

    pytorch-grad-cam goes through it once more for each stage, backwards as far as the image, and with its default
    settings to the parameters too; the others go back to the earliest stage, torch-cam once for all stages.

    Args:
        name: a key of `models.MODELS`.
        request: the maps that the library makes.
        size: side of the image, in pixels.
        library: a key of `cams.LIBRARIES`.
        best: at its best settings.
    """
    whole, channels_of = networks.flop(name, size), _channels(name, request, size)
    total = 0
    for method in request.methods:
        gradients = "gradients" in METHODS[method].needs
        runs = method in ("ablationcam_pgc", "scorecam")
        if library == TORCHCAM and gradients:
            total += whole + networks.flop(name, size, _earliest(name, request))
            continue
        for stage, channels in channels_of.items():
            total += whole * (1 + channels * runs)
            if gradients:
                total += whole * (1 if best else 2) if library == GRADCAM else networks.flop(name, size, stage)
    return request.batch * total


def _earliest(name: str, request: Request) -> str:
    return min(request.stages, key=models.create(name, 1).links.index)


def _channels(name: str, request: Request, size: int) -> dict[str, int]:
    """How many each stage has."""
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(models.create(name, 1).init, jax.random.key(0), x)["perturbations"]
    return {stage: shapes[stage].shape[-1] for stage in request.stages}
