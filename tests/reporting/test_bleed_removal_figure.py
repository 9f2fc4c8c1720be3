import numpy as np
from matplotlib import image

from hemojax.reporting import bleed_removal_figure, figures


def test_a_row_a_slice_before_and_after(tmp_path):
    arrays = {
        name: np.full((3, 20, 20), value, np.uint8)
        for name, value in zip(bleed_removal_figure.REMOVAL[:3], (200, 90, 30), strict=True)
    }
    arrays |= {"mask": np.array(["core", "lesion", "lesion"]), "case": np.array(["1", "2", "3"]), "slice": np.arange(3)}
    figure = bleed_removal_figure.removal_gallery(arrays, "lesion")
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == [200, 90, 30] * 2
    assert [axes.texts[0].get_text() for axes in figure.axes[::3]] == ["case 2\nslice 1", "case 3\nslice 2"]
    figures.write_figure(tmp_path / "removal.png", figure)
    assert image.imread(tmp_path / "removal.png").std() > 0.1
