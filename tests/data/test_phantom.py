"""The phantom: anatomy, masks, labels and files."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage, stats

from hemojax.data.phantom import dataset as phantom
from hemojax.data.phantom.anatomy import grow_head
from hemojax.data.phantom.fields import SUBSLICES, head_grid
from hemojax.data.phantom.geometry import cavity_depth
from hemojax.data.phantom.plans import SUBTYPES
from hemojax.errors import UserError

CASES, SIZE, SLICES, SEED = 32, 56, 14, 4
SMALL = {"cases": 3, "size": 32, "slices": 4}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write_phantom(root, cases=CASES, size=SIZE, slices=SLICES, seed=SEED)
    return root


@pytest.fixture(scope="module")
def rows(dataset):
    with (dataset / "slices.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scans(dataset):
    names = sorted(path.name for path in (dataset / "images").iterdir())
    return {
        name.removesuffix(".nii.gz"): tuple(
            np.asarray(nib.load(dataset / kind / name).dataobj) for kind in ("images", "masks")
        )
        for name in names
    }


@pytest.fixture(scope="module")
def healthy_head():
    rng = np.random.default_rng(0)
    grid = head_grid(rng, 96, 10)
    nothing = np.zeros_like(grid.x)
    return grid, grow_head(rng, grid, nothing, nothing, nothing, dilate=2.0)


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        phantom.write_phantom(tmp_path / name, **SMALL, seed=seed)
    assert tree(tmp_path / "one") == tree(tmp_path / "again")
    assert tree(tmp_path / "one") != tree(tmp_path / "other")


def test_a_case_does_not_depend_on_the_number_of_cases(scans):
    case = phantom.make_case(SEED, 7, SIZE, SLICES)
    volume, mask = scans[phantom.case_name(7)]
    np.testing.assert_array_equal(case.volume, volume)
    np.testing.assert_array_equal(case.mask, mask)


def test_a_complete_phantom_is_left_alone_and_another_replaces_it(tmp_path):
    root = tmp_path / "phantom"
    phantom.write_phantom(root, **SMALL, seed=1)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    phantom.write_phantom(root, **SMALL, seed=1)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    phantom.write_phantom(root, **{**SMALL, "cases": 2}, seed=1)
    assert len(list((root / "images").iterdir())) == 2


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(phantom, "save_nifti", fail)
    with pytest.raises(OSError, match="disk full"):
        phantom.write_phantom(tmp_path / "phantom", **SMALL, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a phantom"):
        phantom.write_phantom(tmp_path, **SMALL, seed=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("wrong", [{"cases": 0}, {"size": 16}, {"slices": 0}])
def test_too_small_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match="phantom: needs"):
        phantom.write_phantom(tmp_path / "phantom", **{**SMALL, **wrong}, seed=1)


def test_files_hold_what_the_generic_layout_asks(dataset, scans):
    assert len(scans) == CASES
    for volume, mask in scans.values():
        assert volume.shape == mask.shape == (SIZE, SIZE, SLICES)
        assert volume.dtype == np.int16
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, *SUBTYPES.values()}
    images = [nib.load(dataset / kind / "phantom-0000.nii.gz") for kind in ("images", "masks")]
    np.testing.assert_array_equal(images[0].affine, images[1].affine)
    assert nib.aff2axcodes(images[0].affine) == ("L", "P", "S")
    assert 200 < images[0].header.get_zooms()[0] * SIZE < 260


def test_the_face_is_in_front_and_the_bottom_below(scans):
    """Near the midline of a low slice the nose's air and the orbits' fat lie at lower second indices than the brain."""
    for volume, _ in list(scans.values())[:8]:
        midline = volume[SIZE // 2 - 4 : SIZE // 2 + 4, SIZE // 8 : -SIZE // 8, 1]
        cerebellum = np.argwhere((midline > 15) & (midline < 50))[:, 1].mean()
        cavities = np.argwhere((midline < -200) & (np.arange(midline.shape[1]) < 0.5 * SIZE))[:, 1].mean()
        assert cavities < cerebellum
        assert (volume[:, :, -1] < -400).sum() > (volume[:, :, 4] < -400).sum()  # the vertex is narrow


def test_labels_agree_with_masks(rows, scans):
    assert len(rows) == CASES * SLICES
    for row in rows:
        mask = scans[row["patient"]][1][:, :, int(row["slice"])]
        for name, value in SUBTYPES.items():
            assert int(row[name]) == int((mask == value).any())
        assert int(row["hemorrhage_binary"]) == int(mask.any())


def test_a_labelled_bleed_is_not_a_scrap(scans):
    for _, mask in scans.values():
        areas = np.array([(mask == value).sum((0, 1)) for value in SUBTYPES.values()])
        assert areas[areas > 0].min(initial=99) >= 12 * SIZE**2 / 128**2


def test_all_subtypes_appear_and_two_cases_of_five_are_clean(scans):
    present = [set(np.unique(mask)) - {0} for _, mask in scans.values()]
    for name, value in SUBTYPES.items():
        assert sum(value in values for values in present) >= 3, name
    assert 0.3 <= np.mean([not values for values in present]) <= 0.5
    assert any(len(values) > 1 for values in present)


def test_every_patient_has_one_split_and_every_split_both_kinds(rows):
    splits, bleeding = {}, {}
    for row in rows:
        splits.setdefault(row["patient"], set()).add(row["split"])
        bleeding[row["patient"]] = bleeding.get(row["patient"], False) or row["hemorrhage_binary"] == "1"
    assert all(len(names) == 1 for names in splits.values())
    for name, share in phantom.SPLITS.items():
        members = [patient for patient, names in splits.items() if names == {name}]
        assert len(members) == pytest.approx(share * CASES, abs=2)
        assert 0.4 < np.mean([bleeding[patient] for patient in members]) < 0.8


def test_a_small_dataset_still_has_all_splits():
    assert set(phantom.split_cases([0, 0, 0, 2, 5, 1], seed=0)) == set(phantom.SPLITS)


def test_blood_has_the_density_of_blood_and_stands_out(scans):
    for volume, mask in scans.values():
        for value in set(np.unique(mask)) - {0}:
            blood = mask == value
            assert 35 < volume[blood].mean() < 85
            near = ndimage.binary_dilation(blood, np.ones((7, 7, 1))) & (mask == 0)
            tissue = volume[near & (volume > 0) & (volume < 80)]
            assert volume[blood].mean() - np.median(tissue) > 6
    cross = ndimage.generate_binary_structure(2, 1)[:, :, None]
    cores = [volume[ndimage.binary_erosion(mask > 0, cross)] for volume, mask in scans.values()]
    means = [core.mean() for core in cores if core.size >= 5]
    assert len(means) > 4
    assert min(means) > 45
    assert max(means) < 85


def test_brightness_alone_is_not_the_answer(scans):
    """Deep within the cavity, far from bone and outside every mask, calcium is as bright as blood or brighter."""
    calcified = 0
    for index, (volume, mask) in enumerate(scans.values()):
        grid = head_grid(np.random.default_rng([SEED, index]), SIZE, SLICES)
        deep = (cavity_depth(grid.x, grid.a, grid.z) > 22)[:, :, ::SUBSLICES]
        calcified += bool((deep & (mask == 0) & (volume > 85)).any())
    assert calcified > CASES / 3


def test_tissues_have_their_hounsfield_values(healthy_head):
    grid, head = healthy_head
    inside = head.depth > 4
    assert -5 < np.median(head.hu[head.ventricle > 2.5]) < 15
    dry = inside & (head.fluid == 0) & (head.ventricle < -3)
    brain = head.hu[dry]
    assert 24 < np.percentile(brain, 5) < np.percentile(brain, 95) < 44
    assert np.percentile(brain, 95) - np.percentile(brain, 5) > 5  # grey and white matter differ
    wall = (head.vault < -1.5) & (head.vault > -3.5) & (grid.z > 0)
    assert 500 < np.median(head.hu[wall]) < 1500
    assert np.percentile(head.hu[:3, :3], 95) < -950
    assert head.hu.max() > 1000


def test_a_scan_is_noisy_within_reason(scans):
    for volume, mask in list(scans.values())[:6]:
        centre = (slice(SIZE // 2 - 4, SIZE // 2 + 4),) * 2
        if not mask[centre].any():
            assert 1 < volume[centre][..., -4].std() < 12


def test_the_level_of_a_slice_says_little(rows):
    """Bleeding frequency by slice index, fitted on two splits, does not rank the slices of the third."""
    truth = np.array([int(row["hemorrhage_binary"]) for row in rows]).reshape(CASES, SLICES)
    held_out = np.array([row["split"] for row in rows]).reshape(CASES, SLICES)[:, 0] == "test"
    index = np.arange(SLICES)
    middle = np.abs(index - (SLICES - 1) / 2)
    for position in (index, middle):
        frequency = np.array([truth[~held_out][:, position == value].mean() for value in position])
        test = truth[held_out]
        ranks = stats.rankdata(np.broadcast_to(frequency, test.shape)).reshape(test.shape)
        positives, negatives = test.sum(), (1 - test).sum()
        auroc = (ranks[test == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        assert auroc < 0.65
