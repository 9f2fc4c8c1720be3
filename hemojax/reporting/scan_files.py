"""What `explain` gives back for one scan, all on the scan's own grid: NIfTI heat map and mask, boxes, and a montage.

Arrays are (H, W, S) in the order of the scan's NIfTI array; a slice is `volume[:, :, s]`, 0-based. Boxes are half-open
[i0, j0, i1, j1) in the first two array axes.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Integer, Real
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from hemojax.data import orientation
from hemojax.files import replacing
from hemojax.reporting import figures
from hemojax.results import write_text

BOX_COLUMNS = ("scan", "slice", "i0", "j0", "i1", "j1", "score")
MONTAGE_TILES = 24
TILE_INCHES = 2.2
MONTAGE_INCHES = 4.4  # at least, for the words above the tiles

# All that places the grid in space, and nothing that could name a person, a device or a hospital: the fields are
# copied one by one by name, so that a new source of free text in a header cannot leak through.
_GEOMETRY = (
    *("qform_code", "sform_code", "xyzt_units"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def write_heat(path: Path, heat: Float32[np.ndarray, "h w s"], reference: nib.spatialimages.SpatialImage) -> None:
    """Writes a heat map as float32 NIfTI on the grid of `reference`, without the rest of its header."""
    _write_nifti(path, heat, reference)


def write_mask(path: Path, mask: Bool[np.ndarray, "h w s"], reference: nib.spatialimages.SpatialImage) -> None:
    """Writes a mask as uint8 NIfTI (0 and 1) on the grid of `reference`, without the rest of its header."""
    _write_nifti(path, mask.astype(np.uint8), reference)


def _write_nifti(path: Path, values: Real[np.ndarray, "h w s"], reference: nib.spatialimages.SpatialImage) -> None:
    if values.shape != (*reference.shape, 1)[:3]:
        raise ValueError(f"{path}: array of shape {values.shape} for a scan of shape {reference.shape}")
    header = nib.Nifti1Header()
    header.set_data_dtype(values.dtype)
    if isinstance(reference.header, nib.Nifti1Header):
        for field in _GEOMETRY:
            header[field] = reference.header[field]
        header["pixdim"][:4] = reference.header["pixdim"][:4]
    else:
        header.set_xyzt_units("mm")
        header.set_sform(reference.affine, code="scanner")
    image = nib.Nifti1Image(values, None, header)
    with replacing(path) as temporary:
        nib.save(image, temporary)


def boxes_rows(
    scan: str, slices: Integer[np.ndarray, " n"], boxes: Integer[np.ndarray, "n 4"], scores: Float[np.ndarray, " n"]
) -> pd.DataFrame:
    """One row a box, with the columns `BOX_COLUMNS`, ordered by slice and then by falling score."""
    if np.any(boxes[:, 2:] <= boxes[:, :2]):
        raise ValueError(f"{scan}: a box [i0, j0, i1, j1) without an area")
    frame = pd.DataFrame({"scan": scan, "slice": slices, **dict(zip(BOX_COLUMNS[2:6], boxes.T, strict=True))})
    frame["score"] = scores
    return frame.sort_values(["slice", "score"], ascending=[True, False], kind="stable", ignore_index=True)


def write_boxes(path: Path, frame: pd.DataFrame) -> None:
    """Writes the rows of `boxes_rows`, of one or of many scans, as CSV."""
    write_text(path, frame.to_csv(index=False, columns=list(BOX_COLUMNS), float_format="%.4f", lineterminator="\n"))


def coco(
    frame: pd.DataFrame, shapes: Mapping[str, tuple[int, int, int]], category: str = "haemorrhage"
) -> dict[str, Any]:
    """The boxes as a COCO detection data set, one image a slice of every scan (https://cocodataset.org/#format-data).

    x runs along the second array axis (j) and y along the first (i), so an image is the slice array itself, row by
    row, `width` = W and `height` = H. It is NOT turned for display. COCO counts from corners as we do: bbox =
    [j0, i0, j1 - j0, i1 - i0].

    Args:
      frame: rows of `boxes_rows`.
      shapes: (H, W, S) of every scan; a scan without boxes still gets its images.
      category: name of the only category, with id 1.

    Returns:
      A dictionary that `results.write_json` can write. An image has the extra keys `scan` and `slice`, an annotation
      has `score`.

    Raises:
      ValueError: A box lies outside its scan, or its scan is not in `shapes`.
    """
    images: list[dict[str, Any]] = [
        {"file_name": f"{scan}/{index:04d}", "scan": scan, "slice": index, "width": width, "height": height}
        for scan, (height, width, depth) in shapes.items()
        for index in range(depth)
    ]
    images = [{"id": number, **image} for number, image in enumerate(images, start=1)]
    image_of = {(image["scan"], image["slice"]): image for image in images}
    annotations = []
    for number, row in enumerate(frame.itertuples(index=False), start=1):
        image = image_of.get((row.scan, int(row.slice)))
        i0, j0, i1, j1 = (int(edge) for edge in (row.i0, row.j0, row.i1, row.j1))
        if image is None or min(i0, j0) < 0 or i1 > image["height"] or j1 > image["width"]:
            raise ValueError(f"{row.scan}: box {[i0, j0, i1, j1]} of slice {row.slice} lies outside the scan")
        annotations.append(
            {
                "id": number,
                "image_id": image["id"],
                "category_id": 1,
                "bbox": [j0, i0, j1 - j0, i1 - i0],
                "area": (j1 - j0) * (i1 - i0),
                "iscrowd": 0,
                "segmentation": [],
                "score": round(float(row.score), 4),
            }
        )
    categories = [{"id": 1, "name": category, "supercategory": "finding"}]
    info = {"description": "Boxes by class activation maps; x = second, y = first axis of the NIfTI array; not turned"}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def montage(
    scan: str,
    hu: Real[np.ndarray, "h w s"],
    *,
    heat: Float[np.ndarray, "h w s"],
    mask: Bool[np.ndarray, "h w s"],
    probability: Float[np.ndarray, " s"],
    positive: Bool[np.ndarray, " s"],
    affine: Float[np.ndarray, "4 4"],
) -> Figure:
    """The positive slices of a scan, each with its heat map and the outline of its mask over the brain window.

    Beyond `MONTAGE_TILES` positive slices, the most probable ones are shown, in the order of the scan. Without any, the
    most probable slice is shown and the title says so. Slices are turned so that anterior is up and the patient's right
    is on the viewer's left, by `affine`; pixels keep their physical shape.

    Args:
      scan: name for the title.
      hu: Hounsfield units.
      heat: heat map in [0, 1].
      mask: predicted mask.
      probability: of each slice.
      positive: slices that were called positive.
      affine: of the NIfTI file.
    """
    found = np.flatnonzero(positive)
    shown = np.sort(found[np.argsort(-probability[found], kind="stable")][:MONTAGE_TILES])
    title = f"{scan}: {len(found)} of {len(positive)} slices called positive"
    if len(found) > len(shown):
        title += f", the {len(shown)} most probable shown"
    if not len(found):
        shown = np.array([np.argmax(probability)])
        title += "; the most probable one shown"
    columns = min(len(shown), 4 if len(shown) <= 12 else 6)
    rows = math.ceil(len(shown) / columns)
    flips = orientation.flips(nib.aff2axcodes(affine))
    spacing = nib.affines.voxel_sizes(affine)[:2]
    aspect = float(spacing[1] / spacing[0] if flips.transpose else spacing[0] / spacing[1])
    window = figures.head_window(hu)
    tiles = [[orientation.display(volume[*window, index], flips) for volume in (hu, heat, mask)] for index in shown]
    height, width = tiles[0][0].shape
    tall = TILE_INCHES * min(max(height * aspect / width, 0.5), 2.0)
    total = rows * tall + 0.45
    figure = figures.new_figure(max(columns * TILE_INCHES, MONTAGE_INCHES), total, background="black")
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=rows * tall / total)
    words: dict[str, Any] = {"color": "white", "fontsize": 8, "va": "top", "weight": "bold", "parse_math": False}
    figure.text(0.01, 1 - 0.09 / total, title, **words)
    legend = f"colour: heat map, 0 to 1; line: predicted mask; {flips.left} is on the viewer's left"
    figure.text(0.01, 1 - 0.27 / total, legend, color="0.75", fontsize=6.5, va="top")
    for axes in grid.flat:
        axes.set_axis_off()
    shade = [Stroke(linewidth=1.5, foreground="black"), Normal()]
    style: dict[str, Any] = {"color": "white", "fontsize": 7, "path_effects": shade}
    for axes, index, (ct, cam, predicted) in zip(grid.flat, shown, tiles, strict=False):
        figures.overlay(axes, ct, cam, aspect=aspect)
        figures.outline(axes, predicted, figures.PREDICTED_COLOUR)
        axes.text(0.02, 0.98, f"slice {index}", transform=axes.transAxes, ha="left", va="top", **style)
        axes.text(0.98, 0.98, f"p = {probability[index]:.2f}", transform=axes.transAxes, ha="right", va="top", **style)
        axes.text(0.02, 0.5, flips.left, transform=axes.transAxes, ha="left", va="center", **style)
    return figure
