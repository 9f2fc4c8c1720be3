import numpy as np
import pandas as pd
from matplotlib import image

from hemojax.reporting import figures, reliability_figure


def test_the_diagram_shows_each_bin_with_a_slice(tmp_path):
    slices = pd.DataFrame({"label": "any", "split": "test", "patient": ["a", "b", "b"], "truth": [1, 0, 0]})
    slices["logit"] = np.log([0.15 / 0.85, 0.21 / 0.79, 0.9 / 0.1])
    other = slices.assign(split="validation", truth=1)
    figure = reliability_figure.reliability_diagram(pd.concat([slices, other]))
    upper, lower = figure.axes
    np.testing.assert_allclose(upper.collections[0].get_offsets(), [[0.15, 1], [0.21, 0], [0.9, 0]], atol=1e-12)
    assert [bar.get_height() for bar in lower.patches if bar.get_height()] == [1, 1, 1]
    assert figure.texts[1].get_text() == "calibration error 0.653, Brier score 0.526; n = 3 slices of 2 patients"
    figures.write_figure(tmp_path / "reliability.png", figure)
    assert image.imread(tmp_path / "reliability.png").std() > 0.05
