"""From the config's data section to records: which layout is read, and what is refused before anything is."""

import shutil

import pytest
from data import folders, published

from hemojax.config import defaults
from hemojax.data import prepare, records
from hemojax.errors import UserError


def test_auto_is_the_layout_of_what_lies_there_and_of_its_records_when_that_is_gone(tmp_path, capsys):
    config = defaults()
    config.data.update(layout="auto", root=str(folders.generic(tmp_path / "in")), size=32)
    prepare.prepare(config, tmp_path / "records")
    assert records.layout(tmp_path / "records") == "generic"
    shutil.rmtree(tmp_path / "in")
    capsys.readouterr()
    prepare.prepare(config, tmp_path / "records")
    assert "its records are taken as they are" in capsys.readouterr().out
    with pytest.raises(UserError, match="in: no such folder"):
        prepare.prepare(config, tmp_path / "others")


def test_a_data_set_without_masks_is_refused_before_it_is_read(tmp_path):
    config = defaults()
    config.data.update(layout="auto", root=str(published.rsna(tmp_path / "in")))
    with pytest.raises(UserError, match=r"rsna has no masks, maps cannot be scored: set --config\.task=train$"):
        prepare.prepare(config, tmp_path / "records")
    assert not (tmp_path / "records").exists()
    config.task = "train"
    with pytest.raises(UserError, match=r"split '.*' has no"):
        prepare.prepare(config, tmp_path / "records")
