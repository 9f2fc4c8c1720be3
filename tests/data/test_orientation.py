import numpy as np
import pytest

from hemojax.data import orientation

SIGN = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def affine(codes):
    found = np.zeros((4, 4))
    found[3, 3] = 1
    for column, code in enumerate(codes):
        row, sign = SIGN[code]
        found[row, column] = sign
    return found


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "RPS", "ARS", "PLI", "ALS", "PRI"])
def test_anterior_is_up_and_the_patients_right_on_the_viewers_left(codes):
    world = affine(codes)
    i, j = np.meshgrid(np.arange(5), np.arange(7), indexing="ij")
    # Where each voxel lies in the patient: x to the right, y to the front.
    x, y = (world[axis, 0] * i + world[axis, 1] * j for axis in (0, 1))
    flips = orientation.flips(codes)
    assert flips.left == "R"
    assert (np.diff(orientation.display(x, flips), axis=1) < 0).all()
    assert (np.diff(orientation.display(y, flips), axis=0) < 0).all()


def test_other_planes_are_shown_with_superior_up():
    coronal, sagittal = orientation.flips("RSA"), orientation.flips("PIR")
    ramp = np.arange(12).reshape(3, 4)
    # Coronal: axis 0 grows to the right, axis 1 upwards.
    assert coronal.left == "R"
    assert orientation.display(ramp, coronal)[0, 0] == ramp[-1, -1]
    # Sagittal: axis 0 grows to the back, axis 1 downwards; anterior is on the left.
    assert sagittal.left == "A"
    assert orientation.display(ramp, sagittal)[0, 0] == ramp[0, 0]
