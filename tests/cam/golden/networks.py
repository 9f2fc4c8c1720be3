"""The networks, weights, images and targets of networks.npz, the same for `make_networks.py` and the tests."""

import zlib

import numpy as np

STAGES = {
    "resnet18": ("stage1", "stage2", "stage3", "stage4"),
    "resnet50": ("stage1", "stage2", "stage3", "stage4"),
    "efficientnet_v2_s": ("stage2", "stage4", "stage5", "stage6", "head"),
}
LABELS = {1: (0, 0), 5: (3, 1)}  # by the number of logits, of each image
CASES = tuple((name, outputs) for name in STAGES for outputs in LABELS)
FINAL = ("resnet18", "resnet50")  # of whose stage2, with five logits, the final maps are kept too
SIZE = 64


def weights(state):
    """A tensor for each one of a state dict, drawn from its own name, in float64.

    Scaled so that values neither grow nor vanish on their way through a network.
    """
    return {name: _tensor(name, np.shape(tensor)) for name, tensor in state.items()}


def _tensor(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return rng.uniform(2, 8, shape)
    if len(shape) == 1 and name.endswith("weight"):  # of a batch norm
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.1, shape)
    return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)


def images():
    """NHWC, in float64."""
    return np.random.default_rng(7).standard_normal((2, SIZE, SIZE, 3))
