"""Pictures that ImageNet's classes have a name for."""

import numpy as np
from jaxtyping import Float32
from PIL import Image
from skimage import data

from hemojax.data import hounsfield

LABELS = {"chelsea": 285, "coffee": 967}  # Egyptian cat, espresso


def whole(name: str) -> Float32[np.ndarray, "224 224 3"]:
    """The whole picture at 224 x 224, normalised as TensorFlow does.

    TensorFlow's evaluation cuts out the middle 7/8 of the shorter side; of chelsea that leaves a tiger cat (282, 0.39)
    as likely as an Egyptian cat (285, 0.37), in the PyTorch package too, where the whole image is clear (0.77).
    """
    image = Image.fromarray(getattr(data, name)()).resize((224, 224), Image.Resampling.BICUBIC)
    return hounsfield.normalise(np.asarray(image, np.float32) / 255, "tensorflow")
