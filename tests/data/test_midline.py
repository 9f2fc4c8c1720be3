import numpy as np
import pytest

from hemojax.data import midline

ROW, COLUMN = np.indices((128, 120)).astype(np.float64)


def test_mirroring_about_the_middle_is_a_flip():
    image = np.random.default_rng(0).random((6, 8))
    np.testing.assert_allclose(midline.mirror(image, midline.Midline((0.0, 1.0), 3.5)), image[:, ::-1])
    np.testing.assert_allclose(midline.mirror(image, midline.Midline((1.0, 0.0), 2.5)), image[::-1])
    diagonal = midline.mirror(image[:, :6], midline.Midline((0.5**0.5, -(0.5**0.5)), 0.0))
    np.testing.assert_allclose(diagonal[1:-1, 1:-1], image[:, :6].T[1:-1, 1:-1])
    part = midline.mirror(image, midline.Midline((0.0, 1.0), 3.5), np.s_[2:5, 1:9])
    np.testing.assert_allclose(part, image[2:5, 6::-1])


@pytest.mark.parametrize(("angle", "shift"), [(0, 0), (10, 6), (-15, -5)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_midline_of_a_turned_and_shifted_head(angle, shift, axis):
    turn = np.radians(angle)
    across = (COLUMN - 58 - shift) * np.cos(turn) + (ROW - 66) * np.sin(turn)
    along = (ROW - 66) * np.cos(turn) - (COLUMN - 58 - shift) * np.sin(turn)
    radius = np.hypot(across / 40, along / 52)
    hu = np.where(radius < 1, 1000.0, -1000.0)
    hu[radius < 0.9] = 32
    hu[np.hypot(abs(across) - 8, along) < 4] = 5  # ventricles
    hu[np.hypot(across - 20, along + 5) < 6] = 70  # a bleed on one side
    line = midline.find(hu if axis else hu.T, axis)
    normal = np.array(line.normal if axis else line.normal[::-1])
    assert np.hypot(*normal) == pytest.approx(1)
    assert normal == pytest.approx([np.sin(turn), np.cos(turn)], abs=0.02)  # about a degree
    assert normal @ [66, 58 + shift] == pytest.approx(line.distance, abs=1)


def test_a_slice_of_nothing_has_the_line_through_its_middle():
    line = midline.find(np.full((10, 20), -1000), 1)
    assert line == midline.Midline((0.0, 1.0), 9.5)
