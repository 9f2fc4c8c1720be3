"""The study's product: slice probabilities, heat maps, masks and boxes for scans that nobody has annotated."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import logging
from jaxtyping import Float, Int16
from ml_collections import ConfigDict
from nibabel.nifti1 import Nifti1Image
from scipy import special

from hemojax import devices
from hemojax.benchmark import run
from hemojax.cam import engine, postprocess, random, targets
from hemojax.data import case, grey, hounsfield
from hemojax.data.datasets import generic
from hemojax.errors import UserError
from hemojax.metrics import boxes
from hemojax.models.staged import StagedNetwork
from hemojax.progress import Progress
from hemojax.reporting import figures, tables, volumes
from hemojax.training import loop, predict


class Choice(NamedTuple):
    """Which heat map, and where it is cut: mask = heat > threshold."""

    method: str
    stage: str
    threshold: float


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
    trained = run.stored_config(workdir)
    network = loop.create_network(trained)
    choice = choose(config.explain, network, workdir)
    cam = run.sized(config.cam, network, trained.data)
    find = build(trained, workdir, choice, cam.batch, cam.chunk)
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
            found = find(name, hu)
            probability = special.expit(found.logits.astype(np.float64))
            mask = found.heat > np.float32(choice.threshold)
            table = _boxes(name, found.heat, mask)
            _write_scan(output, name, hu, image, found.heat, mask, probability)
            shapes[name] = hu.shape
            found_boxes.append(table)
            columns = dict(zip(trained.data.labels, probability.T, strict=True))
            probabilities.append(pd.DataFrame({"scan": name, "slice": range(hu.shape[2]), **columns}))
            positive = int((probability > 0.5).any(axis=1).sum())
            progress.line(f"{name}: {positive} of {hu.shape[2]} slices positive, {len(table)} boxes")
            progress.advance()
    if probabilities:
        all_boxes = pd.concat(found_boxes, ignore_index=True)
        tables.write_text(output / "probabilities.csv", pd.concat(probabilities).to_csv(index=False))
        volumes.write_boxes(output / "boxes.csv", all_boxes)
        tables.write_json(output / "boxes.coco.json", volumes.coco(all_boxes, shapes))
        tables.write_json(output / "explain.json", choice._asdict())
    if failures:
        raise UserError(f"{len(failures)} of {len(scans)} scans could not be explained: {'; '.join(failures)}")


def choose(options: ConfigDict, network: StagedNetwork, workdir: Path) -> Choice:
    """Method, stage and threshold: what the options name, and for the rest what was chosen on validation.

    Raises:
        UserError: the options name only a part, and not the chosen method and stage; or a stage that the network does
            not have; or nothing was chosen yet.
    """
    stage = options.stage and network.resolve(options.stage)
    if options.method and stage and options.threshold >= 0:
        return Choice(options.method, stage, options.threshold)
    chosen = tables.read_json(workdir / "results" / "chosen.json")
    mask = options.mask or next(iter(chosen))
    if mask not in chosen:
        raise UserError(f"--config.explain.mask={mask}: the run knows {', '.join(chosen)}")
    best = chosen[mask]["pixels"]
    if (options.method or best["method"], stage or best["stage"]) != (best["method"], best["stage"]):
        raise UserError(
            "--config.explain: another method or stage than the chosen "
            f"{best['method']} at {best['stage']} needs all of method, stage and threshold"
        )
    return Choice(best["method"], best["stage"], options.threshold if options.threshold >= 0 else best["threshold"])


def build(
    trained: ConfigDict, workdir: Path, choice: Choice, batch: int, chunk: int
) -> Callable[[str, Int16[np.ndarray, "h w n"]], Found]:
    """The function from a scan's name and HU volume to what is found in it.

    Args:
        trained: the config with which the network was trained.
        workdir: the run's folder.
        choice: method, stage and threshold.
        batch: slices at once.
        chunk: ablated or masked inputs at once.
    """
    mesh = devices.mesh()
    batch = devices.whole_batch(batch)
    network = loop.create_network(trained)
    _, variables = loop.best_variables(trained, workdir)
    infer = predict.build(network)
    maps = engine.build(network, (choice.method,), (choice.stage,), seeds=1, chunk=chunk, mesh=mesh)

    def find(name: str, hu: Int16[np.ndarray, "h w n"]) -> Found:
        side = max(hu.shape[:2])
        slices = [grey.from_hu(hu[..., n], trained.data) for n in range(hu.shape[2])]
        images = np.stack([hounsfield.normalise(image, trained.data.normalisation) for image in slices])
        logits = np.concatenate([np.asarray(infer(variables, part))[:n] for part, n in _parts(images, batch)])
        positive = np.flatnonzero((logits > 0).any(axis=1))
        heat = np.zeros(hu.shape, np.float32)
        identities = np.array([random.identity(name, n) for n in range(hu.shape[2])])
        for (at, n), (part, _) in zip(_parts(positive, batch), _parts(images[positive], batch), strict=True):
            explanation = maps(variables, part, targets.predicted(logits[at]), identities[at])
            found = explanation.maps[choice.stage, choice.method]
            found = found.reshape(batch, *found.shape[-2:])
            full = jax.vmap(lambda m: postprocess.full_heat(m, (side, side)))(jnp.asarray(found))
            for k in range(n):
                heat[..., at[k]] = hounsfield.crop_square(np.asarray(full[k], np.float32), hu.shape[:2])
        return Found(logits, heat)

    return find


def _parts(rows: np.ndarray, batch: int) -> list[tuple[np.ndarray, int]]:
    """Batches of one size, the last filled with its first row, and how many rows of each count."""
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return [(np.concatenate([p, np.repeat(p[:1], batch - len(p), axis=0)]), len(p)) for p in parts]


def _boxes(name: str, heat: Float[np.ndarray, "h w n"], mask: np.ndarray) -> pd.DataFrame:
    """One box for each 8-connected component of each slice; its score is the highest heat inside."""
    slices, found, scores = [], [], []
    for n in range(mask.shape[2]):
        for box in boxes.component_boxes(mask[..., n]):
            i0, j0, i1, j1 = box
            slices.append(n)
            found.append(box)
            scores.append(float(heat[i0:i1, j0:j1, n].max()))
    return volumes.boxes_rows(
        name, np.array(slices, np.int64), np.array(found, np.int64).reshape(-1, 4), np.array(scores, np.float64)
    )


def _write_scan(
    output: Path,
    name: str,
    hu: Int16[np.ndarray, "h w n"],
    image: Nifti1Image,
    heat: Float[np.ndarray, "h w n"],
    mask: np.ndarray,
    probability: Float[np.ndarray, "n l"],
) -> None:
    volumes.write_heat(output / f"{name}_heat.nii.gz", heat, image)
    volumes.write_mask(output / f"{name}_mask.nii.gz", mask, image)
    highest = probability.max(axis=1)
    figure = volumes.montage(name, hu, heat, mask, highest, highest > 0.5, image.affine)
    figures.write_figure(output / f"{name}_montage.png", figure)
