"""What a data set holds, before anyone trains on it."""

import json

import numpy as np
import pytest
from data.folders import generic
from PIL import Image

from hemojax.config import defaults
from hemojax.errors import UserError
from hemojax.reporting import contact_sheet, figures
from hemojax.tasks.inspect import inspect


def test_a_table_a_file_and_a_sheet(tmp_path, capsys):
    config = defaults()
    config.data.root = str(generic(tmp_path / "set", clean=(0, 3, 5, 8)))
    inspect(config, tmp_path / "work")
    said = capsys.readouterr().out
    assert "can be trained on" in said
    assert "mask integers        2 (10 slices)" in said
    assert json.loads((tmp_path / "work" / "inspect.json").read_text())["cases"] == 9
    with Image.open(tmp_path / "work" / "inspect.png") as picture:
        assert picture.width > 500
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"inspect.json", "inspect.png"}


def test_what_forbids_to_train_is_said_and_is_an_error(tmp_path, capsys):
    config = defaults()
    config.data.root = str(generic(tmp_path / "set", clean=(0, 3, 5, 8)))
    (tmp_path / "set" / "images" / "p4.nii.gz").write_text("no scan")
    with pytest.raises(UserError, match="cannot be trained on, 1 problem "):
        inspect(config, tmp_path / "work")
    assert f"problem: {tmp_path / 'set' / 'images' / 'p4.nii.gz'}: cannot be read" in capsys.readouterr().out
    assert not json.loads((tmp_path / "work" / "inspect.json").read_text())["trainable"]
    config.data.labels = ("IPX",)
    with pytest.raises(UserError, match="IPX"):
        inspect(config, tmp_path / "work")


def test_the_patients_right_is_on_the_viewers_left(tmp_path):
    hu, mask = np.full((40, 40), -1000), np.zeros((40, 40), bool)
    hu[2:8, 2:8] = (
        80  # to the right and to the front in the canonical order, whose axes grow to the left and to the back
    )
    tile = contact_sheet.Tile("a $name$ <b> \\frac", hu, mask, 1.0)
    figures.write_figure(tmp_path / "sheet.png", contact_sheet.draw([tile] * 8))
    with Image.open(tmp_path / "sheet.png") as image:
        picture = np.asarray(image.convert("L"))[:, : round(contact_sheet.TILE_INCHES * figures.DPI)]
    rows, columns = np.nonzero(picture[40:] > 200)
    assert np.median(columns) < 0.4 * picture.shape[1]
    assert np.median(rows) < 0.4 * (picture.shape[0] - 40)
    contact_sheet.draw([])
