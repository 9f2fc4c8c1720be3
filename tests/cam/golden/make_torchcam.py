"""Makes torchcam.npz: what torch-cam 0.5.0, and FullGrad and the smoothing of pytorch-grad-cam 1.5.7, give.

For the network and images of `make_golden.py`, in float64. Run by hand where torch, grad-cam and torchcam are
installed (requirements-compare.txt): `PYTHONPATH=. python tests/cam/golden/make_torchcam.py`. torch-cam's maps are
those after its ReLU and before its scaling. Its noise is stored beside them, so that both sides see the same.
"""

from pathlib import Path

import numpy as np
import pytorch_grad_cam as pgc
import torch
from make_golden import LABELS, SIZE, WIDTHS, default_dtype, targets, trained
from torchcam import methods

FILE = Path(__file__).with_name("torchcam.npz")
STAGE = "stage2"
SAMPLES = 2


def make():
    """All arrays by name."""
    with default_dtype(torch.float64):
        networks, images = trained()
        return torchcam(networks["relu"], images) | grad_cam(networks["relu"], images)


def torchcam(network, images):
    generator = torch.Generator().manual_seed(1)
    noise = {
        "sscam": 2.0 * torch.randn(SAMPLES, len(images), WIDTHS[1], *SIZE, generator=generator),
        "smoothgradcam++": 0.3 * torch.randn(1, *images.shape, generator=generator),
    }
    made = {
        "sscam": methods.SSCAM(network, STAGE, num_samples=SAMPLES),
        "iscam": methods.ISCAM(network, STAGE),
        "smoothgradcam++": methods.SmoothGradCAMpp(network, STAGE, num_samples=1),
    }
    arrays = {f"noise/{name}": values.numpy() for name, values in noise.items()}
    for name, cam in made.items():
        if name in noise:
            drawn = iter(noise[name])
            cam._distrib.sample = lambda size, drawn=drawn: next(drawn)
        with cam:
            network(images)
            arrays[name] = cam(targets=targets(), normalized=False)[0].detach().numpy()
    bases = {"gradcam": methods.GradCAM, "layercam": methods.LayerCAM}
    for name, base in bases.items():
        with methods.FinerCAM(network, STAGE, base_method=base, num_references=1) as cam:
            found = cam(list(LABELS), network(images), normalized=False)[0]
            arrays[f"finercam/{name}"] = found.detach().numpy()
    return arrays


def grad_cam(network, images):
    arrays = {}
    with pgc.FullGrad(network, []) as cam:
        arrays["fullgrad"] = cam(images, targets())
    for name, method in {"gradcam": pgc.GradCAM, "layercam": pgc.LayerCAM}.items():
        with method(network, [getattr(network, STAGE)]) as cam:
            arrays[f"eigen_smooth/{name}"] = cam(images, targets(), eigen_smooth=True)
            arrays[f"aug_smooth/{name}"] = cam(images, targets(), aug_smooth=True)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **make())
