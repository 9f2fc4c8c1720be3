"""What is taken for HU, and what is refused: of a synthetic head, the phantom, and real scans where they are."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from hemojax.data import intensity
from hemojax.data.case import CaseError
from hemojax.data.phantom.dataset import make_case
from hemojax.errors import UserError

SCAN = Path("scan.nii")
REAL = os.environ.get("HEMOJAX_PHE_SICH")


def plain():
    """Air, skull and brain."""
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:64, :64] / 64 - 0.5
    r = np.hypot(i / 0.38, j / 0.46)[..., None].repeat(4, axis=2)
    hu = np.where(r < 1, 1000, -1000)
    return np.where(r < 0.88, np.rint(rng.normal(35, 4, r.shape)), hu).astype(np.int16)


HEADS = {"plain": plain(), "phantom": make_case(0, 1, 64, 6).volume}


@pytest.fixture(params=HEADS)
def head(request):
    return HEADS[request.param]


def change(name, head):
    side, noise = len(head), np.random.default_rng(1)
    made = {
        "as it is": lambda: head,
        "float": lambda: head + 0.25,
        "noise": lambda: head + noise.normal(0, 50, head.shape),
        "padding": lambda: np.where(head < -900, -3024, head),
        "round field of view": lambda: np.where(np.indices(head.shape)[0] < side // 4, -2000, head),
        "air of -1024": lambda: np.where(head < -900, -1024, head),
        "large field of view": lambda: np.pad(head, ((0, 3 * side), (0, 3 * side), (0, 0)), constant_values=-1000),
        "cropped": lambda: head[side // 8 : -side // 8, side // 10 : -side // 10],
        "metal": lambda: np.where(np.indices(head.shape)[0] == side // 2, 30000, head),
        "no skull on one side": lambda: np.where((np.indices(head.shape)[0] < side // 2) & (head > 200), -20, head),
        "brain alone in air": lambda: np.where((head > 0) & (head < 100), head, -1024),
        "no intercept": lambda: (head + 1024).astype(np.uint16),
        "no intercept, 1000": lambda: head + 1000,
        "no intercept, air of 0": lambda: np.maximum(head + 1024, 0),
        "no intercept, padded": lambda: np.where(head < -900, -2000, head + 1024),
        "no intercept, large field of view": lambda: np.pad(
            head + 1024, ((0, 3 * side), (0, 0), (0, 0)), constant_values=24
        ),
        "intercept twice": lambda: head - 1024,
        "no slope": lambda: head // 2,
        "0 to 1": lambda: ((head + 1000.0) / 2000).clip(0, 1).astype(np.float32),
        "z scores": lambda: (head - head.mean()) / head.std(),
        "0 to 255": lambda: np.clip(head * 255.0 / 80, 0, 255).astype(np.uint8),
        "0 to 4095": lambda: (head + 1024.0) / (head.max() + 1024.0) * 4095,
        "16 bits": lambda: ((head + 1024.0) / (head.max() + 1024.0) * 65535).astype(np.uint16),
        "window of 80": lambda: np.clip(head, 0, 80),
        "window of 80, bytes": lambda: np.clip(head, 0, 80).astype(np.uint8),
        "window of 120": lambda: np.clip(head, -20, 100),
        "window of 400": lambda: np.clip(head, -160, 240),
        "one value": lambda: 0 * head,
        "nothing but padding": lambda: 0 * head - np.arange(head.shape[2]) - 2000,
        "upside down": lambda: -head,
    }
    return made[name]()


@pytest.mark.parametrize("kind", ["hu", "windowed"])
@pytest.mark.parametrize(
    "name",
    [
        "as it is",
        "float",
        "noise",
        "padding",
        "round field of view",
        "air of -1024",
        "large field of view",
        "cropped",
        "metal",
        "no skull on one side",
        "brain alone in air",
    ],
)
def test_hu_are_taken_as_they_are(head, name, kind):
    given = change(name, head)
    found = intensity.to_hu(SCAN, given, kind)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, np.maximum(np.rint(given), -1024))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("no intercept", r"soft tissue lies at about 10[56]\d .*data\.intensity=offset1024"),
        ("no intercept, 1000", r"soft tissue lies at about 10[2-4]\d .*data\.intensity=offset1000"),
        ("no intercept, air of 0", "soft tissue lies at about 10"),
        ("no intercept, padded", "soft tissue lies at about 10"),
        ("no intercept, large field of view", "soft tissue lies at about 10"),
        ("intercept twice", "convert the scan again with its rescale slope and intercept"),
        ("no slope", r"air lies at about -5\d\d HU"),
        ("0 to 1", r"values from 0 to 1 are no HU; .*data\.intensity=grey:CENTRE:WIDTH"),
        ("z scores", "values from -.* are no HU"),
        ("0 to 255", r"values from 0 to 255 are grey values of a window; .*data\.intensity=grey:CENTRE:WIDTH"),
        ("0 to 4095", "hold neither air nor fat"),
        ("16 bits", "are no HU"),
        ("window of 80", r"values from 0 to 80 \(\d+ % at 0 and \d+ % at 80\) .*data\.intensity=windowed"),
        ("window of 120", r"values from -20 to 100 .*data\.intensity=windowed"),
        ("window of 400", r"values from -160 to 240 .* neither air nor bone"),
        ("one value", "values from 0 to 0 are no HU"),
        ("nothing but padding", "padding|values from"),
        ("upside down", "hold hardly any soft tissue"),
    ],
)
def test_what_cannot_be_hu_is_refused_with_what_was_seen(head, name, line):
    with pytest.raises(CaseError, match=f"^scan.nii: .*{line}") as caught:
        intensity.to_hu(SCAN, change(name, head))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "low", "high"),
    [
        ("no intercept", "offset1024", -1024, 32767),
        ("no intercept, padded", "offset1024", -1024, 32767),
        ("no intercept, 1000", "offset1000", -1024, 32767),
        ("window of 80", "windowed", 0, 80),
        ("window of 80, bytes", "windowed", 0, 80),
        ("window of 120", "windowed", -20, 100),
        ("window of 400", "windowed", -160, 240),
        ("0 to 255", "grey:40:80", 0, 80),
        ("0 to 1", "grey:0:2000", -1000, 1000),
    ],
)
def test_what_is_declared_becomes_hu(head, name, kind, low, high):
    found = intensity.to_hu(SCAN, change(name, head), kind)
    inside = head[head > -900] if "padded" in name else head
    found = found[head > -900] if "padded" in name else found
    np.testing.assert_allclose(found, np.clip(inside, low, high), atol=1 if "grey" in kind else 0)


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("as it is", "offset1024", "with --config.data.intensity=offset1024"),
        ("as it is", "grey:40:80", "are no grey values"),
        ("0 to 255", "windowed", "are grey values of a window"),
        ("0 to 1", "windowed", "are no HU"),
        ("no intercept", "windowed", "soft tissue lies at about 10"),
    ],
)
def test_what_is_declared_wrongly_is_refused(head, name, kind, line):
    with pytest.raises(CaseError, match=line):
        intensity.to_hu(SCAN, change(name, head), kind)


def test_grey_values_of_another_form_are_refused(head):
    grey = change("0 to 255", head)
    for array, line in ((255 - grey, "air is white: .* at 255"), (grey // 3, "from 0 to 85 are no grey values")):
        with pytest.raises(CaseError, match=line):
            intensity.to_hu(SCAN, array, "grey:40:80")


def test_what_is_no_number_is_refused(head):
    colour = np.zeros(head.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for array, line in ((colour, r"colour \(RGB\)"), (head.astype(complex), "complex128"), (head / np.nan, "NaN")):
        with pytest.raises(CaseError, match=line):
            intensity.to_hu(SCAN, array)


@pytest.mark.parametrize("text", ["HU", "offset", "grey", "grey:40", "grey:40:0", "grey:40:-80", "windowed:40:80", ""])
def test_an_option_that_is_not_known_is_refused(text):
    with pytest.raises(UserError, match=f"--config.data.intensity={text}: give hu, windowed, offset1024"):
        intensity.parse(text)
    assert intensity.parse("grey:-5.5:80") == ("grey", 0, (-5.5, 80))
    assert intensity.parse("offset1000").offset == 1000


@pytest.mark.real_data
@pytest.mark.skipif(not REAL, reason="HEMOJAX_PHE_SICH names no folder of real scans")
def test_real_windowed_scans_have_to_be_declared():
    for path in sorted(Path(REAL, "images").iterdir())[:3]:
        array = np.asanyarray(nib.load(path).dataobj)
        np.testing.assert_array_equal(intensity.to_hu(path, array, "windowed"), array)
        with pytest.raises(CaseError, match="intensity=windowed"):
            intensity.to_hu(path, array)
