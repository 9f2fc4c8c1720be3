import nibabel as nib
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


OBLIQUE = np.array([[-0.5, 0.02, 0, 110], [-0.02, -0.6, 0.3, 90], [0, 0.05, 5, -40], [0, 0, 0, 1.0]])


def test_there_are_48_orders():
    assert len(set(orientation.ORDERS)) == 48
    assert all(len(nib.orientations.axcodes2ornt(codes)) == 3 for codes in orientation.ORDERS)


@pytest.mark.parametrize("codes", orientation.ORDERS)
def test_every_order_is_turned_to_one_and_back(codes):
    head = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (6, 7, 4)).astype(np.int16), OBLIQUE)
    order = nib.orientations.ornt_transform(
        nib.io_orientation(OBLIQUE), nib.orientations.axcodes2ornt(codes)
    )  # as nibabel turns it
    other = head.as_reoriented(order)
    stored, turn = np.asanyarray(other.dataobj), orientation.turn(codes)
    np.testing.assert_array_equal(turn.canonical(stored), np.asanyarray(head.dataobj))
    np.testing.assert_array_equal(turn.stored(turn.canonical(stored)), stored)
    np.testing.assert_allclose(turn.affine(other.affine, stored.shape), OBLIQUE, atol=1e-12)
    last = turn.slices_last(stored)
    np.testing.assert_array_equal(last, np.moveaxis(stored, max(codes.find("S"), codes.find("I")), -1))
    # Slice n of the canonical order has the number that it has in the file.
    for n, number in enumerate(turn.numbers(4)):
        assert sorted(last[..., number].ravel()) == sorted(turn.canonical(stored)[..., n].ravel())


def test_a_turn_knows_the_order_of_its_file():
    assert [orientation.turn(codes).codes for codes in orientation.ORDERS] == list(orientation.ORDERS)
