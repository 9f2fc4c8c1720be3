"""The study's product: slice probabilities, heat maps, masks and boxes for scans that nobody has annotated."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import logging
from jaxtyping import Array, Float, Int16
from ml_collections import ConfigDict
from nibabel.nifti1 import Nifti1Image
from scipy import special

from hemojax import devices, results
from hemojax.batches import in_batches
from hemojax.benchmark import fusion, stored_maps, student
from hemojax.cam import engine, postprocess, random, refinement, targets
from hemojax.checks import sized
from hemojax.data import case, grey, hounsfield
from hemojax.data.datasets import generic
from hemojax.errors import UserError, check_name
from hemojax.metrics import boxes
from hemojax.progress import Progress
from hemojax.reporting import figures, scan_files
from hemojax.run import Run, TrainedRun, create_network, stored
from hemojax.training import loop, predict


class Choice(NamedTuple):
    """Which heat map, and where it is cut: mask = heat > threshold."""

    method: str
    stage: str
    threshold: float


class Scan(NamedTuple):
    """A scan as it was given.

    Attributes:
        name: of its file, without its ending.
        hu: its volume.
        image: with its grid.
    """

    name: str
    hu: Int16[np.ndarray, "h w n"]
    image: Nifti1Image


class Found(NamedTuple):
    """What was found in one scan, on its own grid.

    Attributes:
        logits: of each slice and label.
        heat: in [0, 1]; 0 on slices that the classifier calls negative.
    """

    logits: Float[np.ndarray, "n l"]
    heat: Float[np.ndarray, "h w n"]


def explain(config: ConfigDict, workdir: Path) -> None:
    """Explain the scans of `config.explain.scans` with the run in `workdir`.

    Writes to `<workdir>/explain/`: for each scan `<scan>_heat.nii.gz`, `<scan>_mask.nii.gz` (on the scan's own grid
    and affine) and `<scan>_montage.png`; for all of them `probabilities.csv`, `boxes.csv` and `boxes.coco.json`. A
    slice is positive if a label's probability is above 0.5, and then explained for its most probable label.

    Raises:
        UserError: the run or the scans are missing; or some scans could not be read (after all others are done).
    """
    if not config.explain.scans:
        raise UserError("name a folder of .nii.gz files, or one file: --config.explain.scans=PATH")
    path = Path(config.explain.scans)
    scans = {path.name.removesuffix(".gz").removesuffix(".nii"): path} if path.is_file() else generic.scans(path)
    run = stored(workdir)
    choice = choose(config.explain, run)  # before the weights are read, which takes longer
    run = loop.trained(run)
    cam = sized(config.cam, run.network, run.config.data)
    find = build(run, choice, batch=cam.batch, chunk=cam.chunk)
    output = workdir / "explain"
    probabilities, found_boxes, shapes, failures = [], [], {}, []
    with Progress("explaining", len(scans)) as progress:
        for name, scan in scans.items():
            try:
                array, image = case.read_nifti(scan)
                hu = case.check_hu(scan, array)
            except case.CaseError as error:
                logging.error("%s", error)
                failures.append(str(error))
                continue
            read = Scan(name, hu, image)
            found = find(read)
            probability = special.expit(found.logits.astype(np.float64))
            mask = found.heat > np.float32(choice.threshold)
            table = _boxes(name, found.heat, mask)
            _write_scan(output, read, found.heat, mask=mask, probability=probability)
            shapes[name] = hu.shape
            found_boxes.append(table)
            columns = dict(zip(run.config.data.labels, probability.T, strict=True))
            probabilities.append(pd.DataFrame({"scan": name, "slice": range(hu.shape[2]), **columns}))
            positive = int((probability > 0.5).any(axis=1).sum())
            progress.line(f"{name}: {positive} of {hu.shape[2]} slices positive, {len(table)} boxes")
            progress.advance()
    if probabilities:
        all_boxes = pd.concat(found_boxes, ignore_index=True)
        results.write_text(output / "probabilities.csv", pd.concat(probabilities).to_csv(index=False))
        scan_files.write_boxes(output / "boxes.csv", all_boxes)
        results.write_json(output / "boxes.coco.json", scan_files.coco(all_boxes, shapes))
        results.write_json(output / "explain.json", choice._asdict())
    if failures:
        raise UserError(f"{len(failures)} of {len(scans)} scans could not be explained: {'; '.join(failures)}")


def choose(options: ConfigDict, run: Run) -> Choice:
    """Method, stage and threshold: what the options name, and for the rest what was chosen on validation.

    Raises:
        UserError: the options name only a part, and not the chosen method and stage; or a stage that the network does
            not have; or nothing was chosen yet.
    """
    stage = options.stage
    if stage not in (fusion.FUSED, student.STUDENT):
        stage = stage and create_network(run.config).resolve(stage)
    if options.method and stage and options.threshold >= 0:
        return Choice(options.method, stage, options.threshold)
    chosen = results.read_json(run.results / "chosen.json")
    mask = options.mask or case.chief_target({name: run.config.data.masks[name] for name in chosen})
    check_name(mask, chosen, "explain.mask")
    best = chosen[mask]["pixels"]
    if (options.method or best["method"], stage or best["stage"]) != (best["method"], best["stage"]):
        raise UserError(
            "--config.explain: another method or stage than the chosen "
            f"{best['method']} at {best['stage']} needs all of method, stage and threshold"
        )
    return Choice(best["method"], best["stage"], options.threshold if options.threshold >= 0 else best["threshold"])


def build(run: TrainedRun, choice: Choice, *, batch: int, chunk: int) -> Callable[[Scan], Found]:
    """The function from a scan to what is found in it.

    Args:
        run: whose network it is.
        choice: method, stage and threshold.
        batch: slices at once.
        chunk: ablated or masked inputs at once.
    """
    mesh = devices.mesh()
    batch = devices.whole_batch(batch)
    data, variables, infer = run.config.data, run.variables, predict.build(run.network)
    method, refined_by = refinement.parts(choice.method)
    fused, taught = choice.stage == fusion.FUSED, choice.stage == student.STUDENT
    cells: Sequence[fusion.Cell] = () if taught else ((choice.stage, method),)
    if fused:
        check_name(method, fusion.recipes(run), "fused map")
        cells = fusion.recipes(run)[method]
    methods, stages = (tuple(dict.fromkeys(cell[at] for cell in cells)) for at in (1, 0))
    maps = engine.build(run.network, methods, stages, seeds=1, chunk=chunk, mesh=mesh)
    if taught:
        check_name(method, (student.STUDENT,), "method")
    students = student.stored(run) if taught else None
    full_size = jax.jit(postprocess.full_heat, static_argnums=(1, 2))
    fuse, refine = (jax.jit(function, static_argnums=0) for function in (fusion.fuse, refinement.refine))

    def drawn(heats: list[Array], hu: Int16[np.ndarray, "height width"], side: int) -> Float[Array, "s s"]:
        """Fused, taught and refined on the grid on which that was chosen; a single raw map on the scan's own."""
        size = run.config.eval.size if fused or taught or refined_by else side
        shifts = [stored_maps.shift(run, run.network, len(heat)) for heat in heats]
        full = jnp.stack(
            [
                heat if taught else full_size(heat, (size, size), shift)
                for heat, shift in zip(heats, shifts, strict=True)
            ]
        )
        if fused:
            full = fuse(method, full)[None]
        if refined_by:
            full = refine(refined_by, full, jnp.asarray(hounsfield.guide(hounsfield.resize_hu(hu, size))))
        if taught:  # a probability, which is not scaled
            return postprocess.resize(full[0], (side, side))
        return full[0] if size == side else full_size(full[0], (side, side))

    def find(scan: Scan) -> Found:
        hu, side = scan.hu, max(scan.hu.shape[:2])
        slices = [grey.from_hu(hu[..., n], data) for n in range(hu.shape[2])]
        images = np.stack([hounsfield.normalise(image, data.normalisation) for image in slices])
        parts = in_batches(len(images), batch)
        logits = np.concatenate([np.asarray(infer(variables, images[at]))[:n] for at, n in parts])
        positive = np.flatnonzero((logits > 0).any(axis=1))
        heat = np.zeros(hu.shape, np.float32)
        identities = np.array([random.identity(scan.name, n) for n in range(hu.shape[2])])
        for places, n in in_batches(len(positive), batch):
            at = positive[places]
            if students:
                found = [students(images[at])]
            else:
                explanation = maps(variables, images[at], targets.predicted(logits[at]), identities[at])
                found = [explanation.maps[cell] for cell in cells]
                found = [part.reshape(batch, *part.shape[-2:]) for part in found]
            for k in range(n):
                full = np.asarray(drawn([part[k] for part in found], hu[..., at[k]], side), np.float32)
                heat[..., at[k]] = hounsfield.crop_square(full, hu.shape[:2])
        return Found(logits, heat)

    return find


def _boxes(name: str, heat: Float[np.ndarray, "h w n"], mask: np.ndarray) -> pd.DataFrame:
    """One box for each 8-connected component of each slice; its score is the highest heat inside."""
    slices, found, scores = [], [], []
    for n in range(mask.shape[2]):
        for box in boxes.component_boxes(mask[..., n]):
            i0, j0, i1, j1 = box
            slices.append(n)
            found.append(box)
            scores.append(float(heat[i0:i1, j0:j1, n].max()))
    return scan_files.boxes_rows(
        name, np.array(slices, np.int64), np.array(found, np.int64).reshape(-1, 4), np.array(scores, np.float64)
    )


def _write_scan(
    output: Path,
    scan: Scan,
    heat: Float[np.ndarray, "h w n"],
    *,
    mask: np.ndarray,
    probability: Float[np.ndarray, "n l"],
) -> None:
    name, highest = scan.name, probability.max(axis=1)
    scan_files.write_heat(output / f"{name}_heat.nii.gz", heat, scan.image)
    scan_files.write_mask(output / f"{name}_mask.nii.gz", mask, scan.image)
    figure = scan_files.montage(
        name, scan.hu, heat=heat, mask=mask, probability=highest, positive=highest > 0.5, affine=scan.image.affine
    )
    figures.write_figure(output / f"{name}_montage.png", figure)
