import numpy as np
import pandas as pd

from hemojax.reporting import speed_figure


def test_a_bar_for_each_other_contender_from_1_to_its_ratio():
    rows = pd.DataFrame(
        {
            "network": "resnet18",
            "maps": ["GradCAM", "GradCAM", "AblationCAM", "AblationCAM", "AblationCAM"],
            "contender": ["hemojax", "a", "hemojax", "a", "b"],
            "ratio": [1, 4.0, 1, 100.0, 0.5],
            "lowest": [1, 3.0, 1, 90.0, 0.5],
            "highest": [1, 5.0, 1, 120.0, 0.5],
        }
    )
    figure = speed_figure.ratios(rows, "hemojax")
    (axes,) = figure.axes
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches if np.isfinite(bar.get_width())]
    np.testing.assert_allclose(ends, [0.5, 100, 4])  # from the bottom up
    assert [label.get_text() for label in axes.get_yticklabels()] == ["resnet18: AblationCAM", "resnet18: GradCAM"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
