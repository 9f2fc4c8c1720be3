"""Makes networks.npz: what pytorch-grad-cam 1.5.7 gives for torchvision's networks, in float64.

Run by hand where torch, torchvision and grad-cam are installed (requirements-compare.txt), for an hour:
`PYTHONPATH=. python tests/cam/golden/make_networks.py`. For each network, number of logits, stage and method: the raw
map, before ReLU and scaling; "spread/...", how far the library's float32 map is from it, as a share of its largest
value; and for one stage "final/...", the first image's map as the library returns it.

Its ScoreCAM upsamples with aligned corners, hemojax with half-pixel centres: here it is made to do the latter.
"""

import itertools
from pathlib import Path

import networks
import numpy as np
import torch
import torchvision
from make_golden import default_dtype, explained

from hemojax import models
from hemojax.speed import cams_torch
from hemojax.speed.networks_torch import stage_modules

FILE = Path(__file__).with_name("networks.npz")


def network(name, outputs, dtype):
    """The network with its weights, the modules of its stages, and the images."""
    made = getattr(torchvision.models, name)(num_classes=outputs).to(dtype).eval()
    tensors = networks.weights(made.state_dict())
    made.load_state_dict(
        {key: torch.from_numpy(tensor).to(made.state_dict()[key].dtype) for key, tensor in tensors.items()}
    )
    modules = dict(zip(models.create(name, outputs).stages, stage_modules(made), strict=True))
    return made, modules, torch.from_numpy(networks.images().transpose(0, 3, 1, 2).copy()).to(dtype)


def maps(name, outputs, stage, method, dtype):
    """The library's raw and final maps."""
    made, modules, images = network(name, outputs, dtype)
    targets = [lambda logits, label=label: logits[label] for label in networks.LABELS[outputs]]
    with default_dtype(dtype):
        return explained(cams_torch.METHODS[method], made, modules[stage], images, targets)


def make(cases=networks.CASES, methods=tuple(cams_torch.METHODS)):
    """All arrays by name."""
    arrays = {}
    for name, outputs in cases:
        made, _, images = network(name, outputs, torch.float64)
        with torch.no_grad():
            arrays[f"{name}/{outputs}/logits"] = made(images).numpy()
        for stage, method in itertools.product(networks.STAGES[name], methods):
            cell = f"{name}/{outputs}/{stage}/{method}"
            raw, final = maps(name, outputs, stage, method, torch.float64)
            rounded, _ = maps(name, outputs, stage, method, torch.float32)
            arrays[cell] = raw
            arrays[f"spread/{cell}"] = np.abs(rounded - raw).max() / max(np.abs(raw).max(), 1e-300)
            if (stage, outputs) == ("stage2", 5) and name in networks.FINAL:
                arrays[f"final/{cell}"] = final[0].astype(np.float32)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **make())
