"""Which class activation maps are timed, and how hemojax makes them; `cams_torch` has PyTorch's libraries make them."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hemojax import models
from hemojax.cam import engine, targets
from hemojax.cam.registry import METHODS
from hemojax.models import pretrained
from hemojax.models.staged import StagedNetwork
from hemojax.speed.networks import images
from hemojax.speed.timer import Parts
from hemojax.training import state

GRADCAM, TORCHCAM, CAPTUM = "pytorch-grad-cam", "torch-cam", "captum"
PACKAGES = {GRADCAM: "pytorch_grad_cam", TORCHCAM: "torchcam", CAPTUM: "captum"}
"""The libraries that are compared, and the packages that have them."""
LIBRARIES = {
    GRADCAM: {
        "gradcam": "GradCAM",
        "hirescam": "HiResCAM",
        "gradcam_elementwise": "GradCAMElementWise",
        "gradcam++": "GradCAMPlusPlus",
        "xgradcam": "XGradCAM",
        "layercam": "LayerCAM",
        "eigencam": "EigenCAM",
        "eigengradcam": "EigenGradCAM",
        "shapleycam": "ShapleyCAM",
        "segeigencam": "SegEigenCAM",
        "kpcacam": "KPCA_CAM",
        "fem": "FEM",
        "ablationcam_pgc": "AblationCAM",
        "scorecam": "ScoreCAM",
    },
    TORCHCAM: {
        "gradcam": "GradCAM",
        "gradcam++": "GradCAMpp",
        "xgradcam": "XGradCAM",
        "layercam": "LayerCAM",
        "scorecam": "ScoreCAM",
    },
    CAPTUM: {"gradcam": "LayerGradCam", "ablationcam_pgc": "LayerFeatureAblation"},
}
"""The methods that each has, and its classes for them; captum's AblationCAM sets channels to 0."""
GRADIENT = tuple(name for name in METHODS if METHODS[name].needs == {"gradients"} and name in LIBRARIES[GRADCAM])
TORCHCAM_GRADIENT = tuple(name for name in GRADIENT if name in LIBRARIES[TORCHCAM])
GRID = (*(name for name in GRADIENT if name != "segeigencam"), "eigencam", "ablationcam_pgc")
"""The default benchmark's methods but ScoreCAM and RandomCAM, AblationCAM as pytorch-grad-cam has it."""
Maps = dict[tuple[str, str], Float[np.ndarray, "b h w"]]


class Request(NamedTuple):
    """Maps that are made together.

    Attributes:
        methods: names in METHODS.
        stages: the network's.
        batch: images at once.
    """

    methods: tuple[str, ...]
    stages: tuple[str, ...]
    batch: int


def requests(network: StagedNetwork, batch: int) -> dict[str, Request]:
    """What is timed, by its name in the table: on a batch, or where a peer needs minutes for an image, on one."""
    *_, before, last = network.stages
    third = network.stages[-3]
    bodies = tuple(stage for stage in network.stages if stage not in ("stem", "head"))
    return {
        f"GradCAM {third}": Request(("gradcam",), (third,), batch),
        f"AblationCAM {third}": Request(("ablationcam_pgc",), (third,), 1),
        f"AblationCAM {before}": Request(("ablationcam_pgc",), (before,), 1),
        f"ScoreCAM {third}": Request(("scorecam",), (third,), 1),
        f"EigenCAM {bodies[0]}": Request(("eigencam",), bodies[:1], 1),
        f"{len(GRADIENT)} gradient methods x {len(bodies)} stages": Request(GRADIENT, bodies, batch),
        f"torch-cam's 4 gradient methods x {len(bodies)} stages": Request(TORCHCAM_GRADIENT, bodies, batch),
        f"AblationCAM {last}": Request(("ablationcam_pgc",), (last,), 1),
        "default grid without ScoreCAM": Request(GRID, bodies, 1),
        "default grid": Request((*GRID, "scorecam"), bodies, 1),
    }


def make_weights(path: Path, name: str) -> None:
    """Random weights, as a state dict that every contender reads."""
    network = models.create(name, 1)
    pretrained.save(path, network, state.initialise(network, 64, 3, jax.random.key(0)))


def cams(*, name: str, request: Request, size: int, weights: Path, maps: Path, dtype: str, chunk: int) -> Parts:
    """The compiled request on random images; the maps of its first run are left in the file `maps`."""
    network = models.create(name, 1, dtype=jnp.dtype(dtype))
    variables = pretrained.load(weights, network, state.initialise(network, size, 3, jax.random.key(1)))
    explain = engine.build(network, request.methods, request.stages, chunk=chunk)
    batch = jax.device_put(
        (variables, images(request.batch, size), targets.fixed(0, request.batch), jnp.arange(request.batch))
    )

    def once() -> Maps:
        return jax.tree.map(np.asarray, explain(*batch).maps)

    return [remembering(once, maps)]


def remembering(
    once: Callable[[], Maps], path: Path, methods: Collection[str] = tuple(METHODS)
) -> Callable[[], object]:
    """The function itself, which leaves its first result in a file, of these methods."""

    def run() -> object:
        made = once()
        if not path.exists():
            arrays: Any = {"/".join(cell): values for cell, values in made.items() if cell[1] in methods}
            np.savez(path, **arrays)
        return made

    return run
