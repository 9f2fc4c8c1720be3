import numpy as np
import pandas as pd
from matplotlib import image

from hemojax.reporting import figures


def test_the_head_is_found_beside_its_holder():
    hu = np.full((256, 256, 3), -1000, np.int16)
    hu[60:180, 70:200, 1] = 40
    hu[20:22, 10:250] = 300
    rows, columns = figures.head_window(hu)
    assert 22 < rows.start <= 60
    assert 180 <= rows.stop < 200
    assert 10 < columns.start <= 70
    assert 200 <= columns.stop < 250
    assert figures.head_window(np.full((9, 9, 1), -1000, np.int16)) == (slice(None), slice(None))


def test_stages_are_sorted_as_the_network_runs_them():
    chain = ["stem", "stage1", "stage1/expand", "stage2", "stage9", "stage9/expand", "stage10", "head"]
    assert sorted(reversed(chain), key=figures.depth) == chain


def grid_rows():
    shown = [("stage1", "gradcam", 0.25, 9), ("stage10", "gradcam", 0.5, 9), ("stage2", "gradcam", 0.125, 9)]
    shown += [("stage1", "layercam", 0.75, 9), ("stage2", "scorecam", 0.625, 4), ("-", "hu_threshold", 0.9, 9)]
    frame = pd.DataFrame(shown, columns=["stage", "method", "dice", "slices"])
    frame = frame.assign(mask="lesion", split="test", rule="validation", patients=3)
    frame["baseline"] = frame["method"] == "hu_threshold"
    return pd.concat([frame, frame.assign(mask="haematoma", dice=0.99)], ignore_index=True)


def test_the_dice_grid_shows_each_cell_best_method_first(tmp_path):
    figure = figures.dice_grid(grid_rows(), "lesion", ("stage2", "scorecam"))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["layercam", "scorecam", "gradcam"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stage10", "stage2", "stage1"]
    cells = {tuple(np.floor(text.get_position()).astype(int)): text.get_text() for text in axes.texts}
    assert cells == {(0, 2): "0.75", (1, 1): "0.62*", (2, 0): "0.50", (2, 1): "0.12", (2, 2): "0.25"}
    (frame,) = axes.patches
    assert frame.get_xy() == (1, 1)
    title, note = (text.get_text() for text in figure.texts)
    assert "lesion" in title
    assert "test split, threshold rule validation; n = 9 slices of 3 patients; * fewer slices" in note
    figures.write_figure(tmp_path / "grid.png", figure)
    picture = image.imread(tmp_path / "grid.png")
    assert picture.std() > 0.05
    assert list(tmp_path.iterdir()) == [tmp_path / "grid.png"]


def one_slice(kinds):
    n = len(kinds)
    truth = np.zeros((n, 40, 40), bool)
    truth[:, 10:20, 12:18] = True
    return {
        "ct": np.full((n, 40, 40), 80, np.uint8),
        "truth": truth,
        "heat": np.where(np.roll(truth, 3, axis=1), np.float32(0.75), np.float32(0.25)),
        "threshold": np.full(n, 0.5, np.float32),
        "dice": np.linspace(0, 1, n, dtype=np.float32),
        "kind": np.array(kinds),
        "mask": np.array(["lesion"] * (n - 1) + ["haematoma"]),
        "case": np.array([f"000{index}" for index in range(n)]),
        "slice": np.arange(n),
        "method": np.full(n, "gradcam"),
        "stage": np.full(n, "stage2"),
    }


def test_a_gallery_has_a_row_a_slice_typical_first(tmp_path):
    figure = figures.gallery(one_slice(["worst", "best", "typical", "best"]), "lesion")
    assert len(figure.axes) == 3 * 4
    captions = [[text.get_text() for text in row.texts] for row in figure.axes[::4]]
    assert [caption[0] for caption in captions] == ["typical", "best", "worst"]
    assert captions[0][1] == "case 0002\nslice 2\nDice 0.67\nthreshold 0.50"
    # The box is drawn around pixels 13 to 22 and 12 to 17, whose outer borders lie half a pixel further out.
    (box,) = figure.axes[3].patches
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((11.5, 12.5), 6, 10)
    figures.write_figure(tmp_path / "gallery.png", figure)
    assert image.imread(tmp_path / "gallery.png").std() > 0.1


def test_a_mask_at_the_edge_is_outlined_all_around():
    axes = figures.new_figure(1.0, 1.0).subplots()
    figures.outline(axes, np.ones((4, 6), bool), "red")
    (border,) = axes.lines
    x, y = border.get_data()
    assert (x.min(), x.max(), y.min(), y.max()) == (-0.5, 5.5, -0.5, 3.5)
    figures.outline(axes, np.zeros((4, 6), bool), "red")
    assert len(axes.lines) == 1
