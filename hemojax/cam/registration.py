"""Where a stage's cells lie on the image.

A map is resized with half-pixel centres, as all CAM libraries do: cell j of a stage of stride s is drawn around pixel
s j + (s - 1) / 2. A network whose strided convolutions pad alike on both sides looks at another place there: the
receptive field of cell j has its centre at pixel s j, whatever the kernels. At stages of stride 4 to 32 that is 1.5 to
15.5 pixels further up and to the left, about half a cell. A registered map is drawn where the cells look.

TensorFlow pads on the right and below: the centre is at s j + s - 1 there. What such a network has learnt to look at is
not there, though (`docs/results.md`), so that its maps stay where half-pixel centres have them.
"""

from hemojax.network import Network


def shift(network: Network, stride: int | float) -> float:
    """How many cells further down and to the right a stage's cells lie than half-pixel centres have them.

    Args:
        network: which says how it pads.
        stride: pixels of the network's input a cell of the stage.

    Returns:
        in [-0.5, 0], for `postprocess.resize`.
    """
    return -(1 - 1 / stride) / 2 if network.symmetric_padding else 0.0
