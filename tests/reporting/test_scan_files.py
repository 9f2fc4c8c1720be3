import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from hemojax import results
from hemojax.reporting import figures, scan_files

# Left, posterior, superior, oblique, with anisotropic voxels, as scanners write it.
AFFINE = np.array([[-0.5, 0.02, 0, 110], [-0.02, -0.6, 0.3, 90], [0, 0.05, 5, -40], [0, 0, 0, 1.0]])


@pytest.fixture
def scan():
    image = nib.Nifti1Image(np.zeros((20, 30, 4), np.int16), None)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=1, strip_shears=True)
    header = image.header
    header.set_xyzt_units("mm")
    header["descrip"], header["aux_file"], header["db_name"] = b"Jane Doe", b"ward 7.txt", b"1950-01-01"
    header["intent_name"], header["pixdim"][4:] = b"St Elsewhere", 19500101
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    return image


def test_heat_and_mask_lie_on_the_scans_grid(tmp_path, scan):
    heat = np.random.default_rng(0).random((20, 30, 4), dtype=np.float32)
    scan_files.write_heat(tmp_path / "heat.nii.gz", heat, scan)
    scan_files.write_mask(tmp_path / "mask.nii.gz", heat > 0.5, scan)
    for name, values, dtype in [("heat", heat, np.float32), ("mask", heat > 0.5, np.uint8)]:
        back = nib.load(tmp_path / f"{name}.nii.gz")
        assert back.get_data_dtype() == dtype
        np.testing.assert_array_equal(np.asarray(back.dataobj), values)
        np.testing.assert_array_equal(back.affine, scan.affine)
        np.testing.assert_array_equal(back.get_qform(), scan.get_qform())
        assert back.get_sform(coded=True)[1] == 2
        assert back.get_qform(coded=True)[1] == 1
        assert back.header.get_zooms() == scan.header.get_zooms()
        assert back.header.get_xyzt_units() == scan.header.get_xyzt_units()


def test_nothing_identifying_is_copied(tmp_path, scan):
    scan_files.write_heat(tmp_path / "heat.nii", np.zeros((20, 30, 4), np.float32), scan)
    back = nib.load(tmp_path / "heat.nii")
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        assert back.header[field] == b""
    assert (back.header["pixdim"][4:] == 1).all()
    assert not back.header.extensions
    written = (tmp_path / "heat.nii").read_bytes()
    assert not any(word in written for word in (b"Jane", b"ward", b"1950", b"Elsewhere"))


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (2, 0)])
def test_a_scan_with_one_slice_and_any_form_codes(tmp_path, codes):
    image = nib.Nifti1Image(np.zeros((8, 6, 1), np.int16), None)
    image.header.set_zooms((0.5, 0.7, 5))
    if codes[0]:
        image.set_sform(AFFINE, code=codes[0])
    if codes[1]:
        image.set_qform(np.diag([0.5, -0.7, 5, 1]), code=codes[1])
    nib.save(image, tmp_path / "scan.nii")
    image = nib.load(tmp_path / "scan.nii")
    scan_files.write_mask(tmp_path / "mask.nii", np.ones((8, 6, 1), bool), image)
    back = nib.load(tmp_path / "mask.nii")
    assert back.shape == (8, 6, 1)
    np.testing.assert_array_equal(back.affine, image.affine)
    assert (back.get_sform(coded=True)[1], back.get_qform(coded=True)[1]) == codes


def test_another_format_keeps_its_affine_and_another_shape_is_refused(tmp_path, scan):
    other = nib.MGHImage(np.zeros((20, 30, 4), np.float32), AFFINE)
    scan_files.write_mask(tmp_path / "mask.nii.gz", np.ones((20, 30, 4), bool), other)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").affine, AFFINE, rtol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        scan_files.write_mask(tmp_path / "turned.nii.gz", np.ones((30, 20, 4), bool), scan)
    assert not (tmp_path / "turned.nii.gz").exists()


def some_boxes():
    boxes = np.array([[2, 3, 5, 10], [0, 0, 20, 30], [1, 1, 2, 2]])
    return scan_files.boxes_rows("0002", np.array([3, 1, 3]), boxes, np.array([0.25, 0.5, 0.75]))


def test_boxes_are_ordered_and_written_as_csv(tmp_path):
    scan_files.write_boxes(tmp_path / "boxes.csv", some_boxes())
    assert (tmp_path / "boxes.csv").read_text().splitlines() == [
        "scan,slice,i0,j0,i1,j1,score",
        "0002,1,0,0,20,30,0.5000",
        "0002,3,1,1,2,2,0.7500",
        "0002,3,2,3,5,10,0.2500",
    ]
    with pytest.raises(ValueError, match="without an area"):
        scan_files.boxes_rows("0002", np.array([0]), np.array([[2, 3, 2, 9]]), np.array([1.0]))


def test_a_scan_without_boxes(tmp_path):
    empty = scan_files.boxes_rows("0002", np.zeros(0, int), np.zeros((0, 4), int), np.zeros(0))
    scan_files.write_boxes(tmp_path / "boxes.csv", empty)
    assert (tmp_path / "boxes.csv").read_text() == "scan,slice,i0,j0,i1,j1,score\n"
    found = scan_files.coco(empty, {"0002": (20, 30, 4)})
    assert len(found["images"]) == 4
    assert found["annotations"] == []


def test_coco_has_what_its_readers_need(tmp_path):
    more = pd.concat([some_boxes(), some_boxes().assign(scan="0016")])
    results.write_json(tmp_path / "boxes.json", scan_files.coco(more, {"0016": (20, 30, 4), "0002": (20, 30, 5)}))
    found = results.read_json(tmp_path / "boxes.json")
    images = {image["id"]: image for image in found["images"]}
    assert len(images) == len(found["images"]) == 9
    assert all(image["width"] == 30 and image["height"] == 20 for image in images.values())
    assert len({image["file_name"] for image in images.values()}) == 9
    assert len({annotation["id"] for annotation in found["annotations"]}) == len(found["annotations"]) == 6
    categories = {category["id"] for category in found["categories"]}
    seen = set()
    for annotation in found["annotations"]:
        x, y, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        assert annotation["category_id"] in categories
        assert width > 0
        assert height > 0
        assert annotation["area"] == width * height
        assert annotation["iscrowd"] == 0
        assert x + width <= image["width"]
        assert y + height <= image["height"]
        seen.add((image["scan"], image["slice"], *annotation["bbox"], annotation["score"]))
    assert ("0002", 3, 3, 2, 7, 3, 0.25) in seen
    assert ("0016", 1, 0, 0, 30, 20, 0.5) in seen


def test_coco_refuses_a_box_outside_its_scan():
    with pytest.raises(ValueError, match="outside"):
        scan_files.coco(some_boxes(), {"0002": (20, 29, 4)})
    with pytest.raises(ValueError, match="outside"):
        scan_files.coco(some_boxes(), {"0002": (20, 30, 3)})


def montage(depth, positive, affine=AFFINE):
    hu = np.full((20, 30, depth), -1000, np.int16)
    hu[3:17, 4:26] = 35
    heat = np.zeros(hu.shape, np.float32)
    heat[5:9, 6:12] = 0.9
    probability = np.linspace(0.1, 0.9, depth)
    called = np.asarray(positive, bool)
    return scan_files.montage(
        "0002", hu, heat=heat, mask=heat > 0.5, probability=probability, positive=called, affine=affine
    )


def labels(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts if "slice" in text.get_text()]


def test_a_montage_shows_the_positive_slices_at_most_24():
    assert labels(montage(4, [0, 1, 0, 1])) == ["slice 1", "slice 3"]
    many = montage(30, [1] * 30)
    # The probability rises with the slice, so the first six give way.
    assert labels(many) == [f"slice {index}" for index in range(6, 30)]
    assert "the 24 most probable shown" in many.texts[0].get_text()
    none = montage(3, [0, 0, 0])
    assert labels(none) == ["slice 2"]
    assert "0 of 3 slices called positive" in none.texts[0].get_text()


def test_a_montage_of_one_slice_renders(tmp_path):
    figures.write_figure(tmp_path / "montage.png", montage(1, [1]))
    assert (tmp_path / "montage.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "montage.png").stat().st_size > 5_000


def test_pixels_keep_their_physical_shape():
    # Array axis 0 (0.5 mm) runs across the picture and axis 1 (1 mm) down it: a pixel is twice as high as wide.
    axes = montage(1, [1], np.diag([-0.5, -1.0, 5, 1])).axes[0]
    assert axes.get_aspect() == pytest.approx(2)
