"""The same workloads with PyTorch and torchvision (requirements-compare.txt)."""

import os
from collections.abc import Callable, Sequence

import torch
import torchvision

from hemojax.benchmark.workloads import Layer, Parts, images, labels


def layer_forwards(layers: Sequence[Layer], batch: int, channels_last: bool) -> Parts:
    """Each of these convolutions on random input."""
    torch.set_num_threads(os.cpu_count() or 1)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def part(layer: Layer) -> Callable[[], object]:
        padding = (layer.size - 1) // 2
        conv = torch.nn.Conv2d(
            layer.inputs, layer.outputs, layer.size, layer.stride, padding, groups=layer.groups, bias=False
        ).to(memory_format=layout)
        x = torch.randn(batch, layer.inputs, layer.height, layer.width).contiguous(memory_format=layout)
        return lambda: _forward(conv, x)

    return [part(layer) for layer in layers]


def network(name: str, workload: str, batch: int, size: int, channels_last: bool) -> Parts:
    """The workload on random images with torchvision's network.

    Args:
        name: torchvision's.
        workload: one of `workloads.WORKLOADS`.
        batch: images at once.
        size: their side, in pixels.
        channels_last: the layout of weights and images; torch's default is the other one.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = getattr(torchvision.models, name)(num_classes=1).to(memory_format=layout)
    x = torch.from_numpy(images(batch, size)).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    if workload == "training":
        return [_training(net.train(), x)]
    frozen = net.eval().requires_grad_(False)
    return [_gradients(frozen, x) if workload == "gradients" else lambda: _forward(frozen, x)]


def stage_modules(net: torch.nn.Module) -> list[torch.nn.Module]:
    """Torchvision's modules behind the stages of hemojax's network of the same name, in order."""
    if isinstance(net, torchvision.models.ResNet):
        return [net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
    return list(net.get_submodule("features").children())


def _forward(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(x)


def _gradients(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
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
        return torch.autograd.grad(net(x).sum(), outputs)

    return once


def _training(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    y = torch.from_numpy(labels(len(x)))

    def once() -> object:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return once
