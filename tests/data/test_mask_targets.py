"""What the masks hold is compared with what is asked for."""

import pandas as pd
import pytest

from hemojax.data import mask_targets
from hemojax.data.case import BOXED
from hemojax.errors import UserError


def index(train=(), validation=(), test=()):
    rows = {"train": train, "validation": validation, "test": test}
    return pd.DataFrame(
        [(split, list(drawn)) for split, of in rows.items() for drawn in of], columns=["split", "drawn"]
    )


ALL = index([[1], []], [[1], []], [[1]])


@pytest.mark.parametrize(
    ("masks", "table", "line"),
    [
        (
            {"blood": (1, 2)},
            index([[255], []], [[255]], [[]]),
            r"masks.blood asks for 1, 2, and the masks hold 255; .*: --config.data.masks.blood='\(255,\)'",
        ),
        ({"blood": (1,), "boxes": (BOXED,)}, ALL, r"masks.boxes=\(256,\): asks for boxes, and there is no boxes.csv"),
        ({"blood": (1,)}, index([[]], [[]], [[]]), "no mask or box is drawn in this data set: maps cannot be scored"),
        ({"blood": (1,)}, index([[1]], [[]], [[1]]), "split 'validation' has no slice in which blood of"),
        ({"blood": (1,)}, index([[1]], [[1]], [[]]), "split 'test' has no slice in which blood of"),
        ({"blood": (1,)}, index([[BOXED]], [[BOXED]], [[BOXED]]), r"hold nothing, only boxes .*='\(256,\)'"),
    ],
)
def test_what_cannot_be_scored_is_refused(masks, table, line):
    with pytest.raises(UserError, match=line):
        mask_targets.check(table, masks, scored=True)


def test_what_can_be_scored_passes_in_silence(capsys):
    mask_targets.check(ALL, {"blood": (1, 2)}, scored=True)
    assert not capsys.readouterr().out


def test_what_is_left_out_is_said(capsys):
    mask_targets.check(index([[1, 7]], [[1]], [[1, 2]]), {"blood": (1,), "oedema": (2,)}, scored=True)
    said = capsys.readouterr().out
    assert "no target of --config.data.masks names these integers of the masks: 7" in said
    assert "split 'validation' has no slice in which oedema" in said


def test_a_run_that_only_trains_needs_no_mask(capsys):
    mask_targets.check(index([[]], [[]], [[]]), {"blood": (1,)}, scored=False)
    assert "no mask or box is drawn" in capsys.readouterr().out
    with pytest.raises(UserError, match="the masks hold 255"):
        mask_targets.check(index([[255]], [[]], [[]]), {"blood": (1,)}, scored=False)


def test_slices_that_are_positive_by_another_integer_alone_are_counted(capsys):
    mask_targets.check(index([[1, 7], [7], []], [[1]], [[1], [7, 9]]), {"blood": (1,)}, scored=True)
    said = capsys.readouterr().out
    assert "integers of the masks: 7, 9; in 2 slices nothing else is drawn, and they count as haemorrhage" in said
