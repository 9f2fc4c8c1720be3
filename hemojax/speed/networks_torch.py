"""The same workloads with PyTorch and torchvision (requirements-compare.txt), on a GPU where JAX runs on one.

There it has what JAX has: TF32 for float32, an autotuner, and for bfloat16 `torch.autocast`. Inputs lie on the device
before the clock starts, and it stops when the device has finished: results stay there, as hemojax's do, but for a
training step's loss, which both fetch.
"""

import os
from collections.abc import Callable, Sequence

import torch
import torchvision

from hemojax.speed.networks import Layer, images, labels
from hemojax.speed.timer import Prepared


def set_up(platform: str) -> str:
    """All cores; and a GPU, with cudnn's autotuner and JAX's default precision, if there is one for JAX and for torch.

    Args:
        platform: what hemojax runs on, see `devices.platform`.

    Returns:
        torch's device: "cuda" or "cpu".
    """
    torch.set_num_threads(os.cpu_count() or 1)
    if platform != "gpu" or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    return "cuda"


def autocast(device: str, dtype: str) -> torch.autocast:
    """PyTorch's mixed precision where the dtype is bfloat16."""
    return torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16")


def finished(device: str, run: Callable[[], object]) -> Callable[[], object]:
    """The function, which returns when the device is done."""

    def once() -> object:
        result = run()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return once


def settings(device: str, *others: str) -> str:
    """The device by name and what else is to be said, for tables."""
    return ", ".join([torch.cuda.get_device_name() if device == "cuda" else "CPU", *others])


def layer_forwards(
    layers: Sequence[Layer], *, batch: int, channels_last: bool, platform: str, dtype: str, repeats: int
) -> Prepared:
    """Each of these convolutions on random input, several times in a row."""
    device = set_up(platform)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    of_dtype = getattr(torch, dtype)

    def part(layer: Layer) -> Callable[[], object]:
        padding = (layer.size - 1) // 2
        conv = torch.nn.Conv2d(
            layer.inputs, layer.outputs, layer.size, layer.stride, padding, groups=layer.groups, bias=False
        ).to(memory_format=layout)
        conv = conv.to(device, of_dtype)
        x = torch.randn(batch, layer.inputs, layer.height, layer.width).to(device, of_dtype, memory_format=layout)
        return finished(device, lambda: [_forward(conv, x) for _ in range(repeats)][-1])

    return Prepared([part(layer) for layer in layers], settings(device, dtype))


def network(
    *, name: str, workload: str, batch: int, size: int, channels_last: bool, platform: str, dtype: str
) -> Prepared:
    """The workload on random images with torchvision's network.

    Args:
        name: torchvision's.
        workload: one of `networks.WORKLOADS`.
        batch: images at once.
        size: their side, in pixels.
        channels_last: the layout of weights and images; torch's default is the other one.
        platform: what hemojax runs on.
        dtype: float32, or bfloat16 for mixed precision.
    """
    device = set_up(platform)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = getattr(torchvision.models, name)(num_classes=1).to(device, memory_format=layout)
    x = torch.from_numpy(images(batch, size)).permute(0, 3, 1, 2).to(device, memory_format=layout)
    if workload == "training":
        run = _training(net.train(), x, device, dtype)
    else:
        frozen = net.eval().requires_grad_(False)
        run = _gradients(frozen, x, device, dtype) if workload == "gradients" else _logits(frozen, x, device, dtype)
    return Prepared([finished(device, run)], settings(device, "autocast" if dtype == "bfloat16" else dtype))


def stage_modules(net: torch.nn.Module) -> list[torch.nn.Module]:
    """Torchvision's modules behind the stages of hemojax's network of the same name, in order."""
    if isinstance(net, torchvision.models.ResNet):
        return [net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
    return list(net.get_submodule("features").children())


def _forward(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(x)


def _logits(net: torch.nn.Module, x: torch.Tensor, device: str, dtype: str) -> Callable[[], object]:
    def once() -> object:
        with autocast(device, dtype):
            return _forward(net, x)

    return once


def _gradients(net: torch.nn.Module, x: torch.Tensor, device: str, dtype: str) -> Callable[[], object]:
    outputs: list[torch.Tensor] = []

    def tap(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        # With frozen parameters the graph begins at the first stage's output: nothing is computed below it.
        output = output if outputs else output.detach().requires_grad_()
        outputs.append(output)
        return output

    for module in stage_modules(net):
        module.register_forward_hook(tap)

    def once() -> object:
        outputs.clear()
        with autocast(device, dtype):
            score = net(x).sum()
        return torch.autograd.grad(score, outputs)

    return once


def _training(net: torch.nn.Module, x: torch.Tensor, device: str, dtype: str) -> Callable[[], object]:
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    y = torch.from_numpy(labels(len(x))).to(device)

    def once() -> object:
        optimiser.zero_grad()
        with autocast(device, dtype):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return once
