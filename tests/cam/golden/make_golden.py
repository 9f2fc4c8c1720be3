"""Makes pytorch_grad_cam.npz: what pytorch-grad-cam 1.5.7 gives for the network of `toy.py`, in float64.

Run by hand where torch and grad-cam are installed (requirements-compare.txt):
`PYTHONPATH=. python tests/cam/golden/make_golden.py`. It holds the network's parameters under flax's names, the images
(NHWC), and for each activation function (silu, relu), stage and method the raw map, before ReLU and scaling;
"final/..." are the maps that the library returns, "fused/..." those of several stages.

Its ScoreCAM upsamples with aligned corners, hemojax with half-pixel centres: here it is made to do the latter.
"""

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytorch_grad_cam as pgc
import torch
from torch import nn

from hemojax.speed import cams_torch

FILE = Path(__file__).with_name("pytorch_grad_cam.npz")
SIZE = (16, 24)  # not square, to tell height from width
WIDTHS = (5, 6, 7)
LABELS, SIGNS = (1, 2), (1.0, -1.0)
METHODS = {name.removesuffix("_pgc"): method for name, method in cams_torch.METHODS.items()}


class Toy(nn.Module):
    def __init__(self, activation):
        super().__init__()
        for number, (before, after) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False), start=1):
            self.add_module(f"stage{number}", nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), activation()))
        self.dense = nn.Linear(WIDTHS[-1], 3)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.dense(torch.tanh(x.mean(dim=(2, 3))))


def parameters(network):
    """The parameters in flax's layout and under flax's names."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().numpy()
            kernel = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
            yield f"params/{'dense' if weight.ndim == 2 else 'conv_' + name.split('.')[0]}/kernel", kernel
            yield (
                f"params/{'dense' if weight.ndim == 2 else 'conv_' + name.split('.')[0]}/bias",
                module.bias.detach().numpy(),
            )


def targets():
    """The target of each image."""
    return [
        lambda logits, label=label, sign=sign: sign * logits[label] for label, sign in zip(LABELS, SIGNS, strict=True)
    ]


@contextmanager
def default_dtype(dtype):
    """Torch's default dtype meanwhile."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def explained(method, network, module, images, targets):
    """The library's raw and final maps; its ScoreCAM's with half-pixel centres."""
    half_pixel = partial(nn.Upsample, mode="bilinear", align_corners=False)
    with mock.patch("torch.nn.UpsamplingBilinear2d", half_pixel):
        return cams_torch.explained(method, network, module, images, targets)


def make():
    """All arrays by name."""
    with default_dtype(torch.float64):
        return arrays_in_float64()


def trained():
    """The networks by activation function, and the images, in float64."""
    torch.manual_seed(0)
    images = torch.randn(len(LABELS), 3, *SIZE)
    networks = {"silu": Toy(nn.SiLU).eval(), "relu": Toy(nn.ReLU).eval()}
    for parameter in networks["silu"].parameters():
        parameter.data *= 3  # gradients and logits of a trained network's size: PGC's 1e-6 and 1e-7 are absolute
    networks["silu"].dense.weight.data *= 3
    networks["relu"].load_state_dict(networks["silu"].state_dict())
    return networks, images


def arrays_in_float64():
    networks, images = trained()
    arrays = {"images": images.numpy().transpose(0, 2, 3, 1), "labels": np.array(LABELS), "signs": np.array(SIGNS)}
    arrays |= dict(parameters(networks["silu"]))
    for activation, network in networks.items():
        with torch.no_grad():
            arrays[f"logits/{activation}"] = network(images).numpy()
        for stage in ("stage1", "stage2", "stage3"):
            for method in METHODS:
                raw, final = explained(METHODS[method], network, getattr(network, stage), images, targets())
                arrays[f"raw/{activation}/{stage}/{method}"] = raw
                if (activation, stage) == ("relu", "stage2"):
                    arrays[f"final/{activation}/{stage}/{method}"] = final
    layers = [networks["relu"].stage1, networks["relu"].stage2, networks["relu"].stage3]
    with pgc.LayerCAM(networks["relu"], layers) as cam:
        arrays["fused/mean/layercam"] = cam(images, targets())
    arrays["fused/product/gradcam++"] = pgc.RefineCAM(networks["relu"], layers)(images, targets())
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FILE, **make())
