"""Means over mirrored copies, against copies that are explained one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cam.toy import Toy, images, variables

from hemojax.cam import Target, engine, postprocess, registration
from hemojax.errors import UserError

NETWORK = Toy()
VARIABLES = variables(NETWORK)
IMAGES = images(3)
TARGET = Target(jnp.array([0, 2, 1]), jnp.array([1.0, -1.0, 1.0]))
ASKED = (("gradcam", "randomcam"), ("stage2",))


def explained(images, **options):
    return engine.build(NETWORK, *ASKED, seeds=2, **options)(VARIABLES, images, TARGET, jnp.arange(3))


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("axes", [("i",), ("i", "j")])
def test_the_mean_of_copies_turned_back(axes, registered):
    found = explained(IMAGES, mirrored=axes, registered=registered)
    turns = [(1, 1), (-1, 1)] if axes == ("i",) else [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    shift = registration.shift(NETWORK, 4) if registered else 0.0
    copies = [explained(IMAGES[:, ::i, ::j]) for i, j in turns]
    np.testing.assert_allclose(found.logits, copies[0].logits, atol=1e-5)
    for cell, maps in found.maps.items():
        h, w = maps.shape[-2:]
        drawn = [
            np.stack([postprocess.resize(one, (h, w), shift) for one in copy.maps[cell].reshape(-1, h, w)])[:, ::i, ::j]
            for copy, (i, j) in zip(copies, turns, strict=True)
        ]
        np.testing.assert_allclose(maps, np.mean(drawn, axis=0).reshape(maps.shape), atol=1e-4, err_msg=str(cell))


def test_a_mirrored_image_has_the_mirrored_map():
    found, turned = (explained(x, mirrored=("j",), registered=True).maps for x in (IMAGES, IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(found["stage2", "gradcam"], turned["stage2", "gradcam"][..., ::-1], atol=1e-4)


def test_an_unknown_axis_is_refused():
    with pytest.raises(UserError, match="axis of mirror images"):
        jax.eval_shape(lambda: explained(IMAGES, mirrored=("k",)))
