"""The study's product: slice probabilities, heat maps, masks and boxes for scans that nobody has annotated."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from absl import logging
from jaxtyping import Array, Bool, Float, Int16
from ml_collections import ConfigDict
from nibabel.nifti1 import Nifti1Image
from scipy import special

from hemojax import devices, results
from hemojax.batches import in_batches
from hemojax.benchmark import explained, fusion, stored_maps, student
from hemojax.cam import postprocess, random, refinement, targets
from hemojax.checks import sized
from hemojax.data import case, dicom, grey, hounsfield, intensity, reading, volume
from hemojax.data.datasets import generic
from hemojax.data.pseudonyms import PRIVATE, Pseudonyms
from hemojax.data.volume import Volume
from hemojax.errors import UserError, check_name, listed
from hemojax.metrics import boxes
from hemojax.progress import Progress, say
from hemojax.reporting import dicom_files, figures, scan_files
from hemojax.run import Run, TrainedRun, create_network, stored
from hemojax.training import loop, predict


class Choice(NamedTuple):
    """Which heat map, and where it is cut: mask = heat > threshold."""

    method: str
    stage: str
    threshold: float


class Scan(NamedTuple):
    """A scan in the canonical orientation.

    Attributes:
        name: of its file, without its ending.
        hu: its volume.
    """

    name: str
    hu: Int16[np.ndarray, "h w n"]


class Given(NamedTuple):
    """A scan and its file.

    Attributes:
        hu: of the volume.
        volume: in the canonical orientation, with the way back to its file's.
        image: the file's, with its header.
        affine: from the file's indices to mm.
    """

    hu: Int16[np.ndarray, "h w n"]
    volume: Volume
    image: Nifti1Image
    affine: Float[np.ndarray, "4 4"]


class Found(NamedTuple):
    """What was found in one scan, in the canonical orientation.

    Attributes:
        logits: of each slice and label.
        heat: in [0, 1]; 0 on slices that the classifier calls negative.
    """

    logits: Float[np.ndarray, "n l"]
    heat: Float[np.ndarray, "h w n"]


def explain(config: ConfigDict, workdir: Path) -> None:
    """Explain the scans of `config.explain.scans` with the run in `workdir`.

    Writes to `<workdir>/explain/`: for each scan `<scan>_heat.nii.gz`, `<scan>_mask.nii.gz` (on the scan's own grid
    and affine) and `<scan>_montage.png`, of a DICOM series also `<scan>_heat.dcm` and `<scan>_mask.dcm`; for all of
    them `probabilities.csv`, `boxes.csv` and `boxes.coco.json`, which grow with each scan; and `explain.json`, which
    names the run, the map and the scans that could not be explained. A slice is positive if a label's probability is
    above 0.5, and then explained for its most probable label.

    Raises:
        UserError: the run or the scans are missing; nothing can be written; or some scans could not be explained (after
            all others are done).
    """
    how = reading.of_config(config.data)
    if not config.explain.scans:
        raise UserError("name a folder of .nii.gz files or of DICOM, or one file: --config.explain.scans=PATH")
    scans = _scans(config.explain)
    shown = {name: name for name in scans}
    run = stored(workdir)
    if config.data.hash_names or run.config.data.hash_names:
        hidden = Pseudonyms(workdir / PRIVATE)
        hidden.note(scans)
        shown = {name: hidden(name) for name in scans}
    choice = choose(config.explain, run)  # before the weights are read, which takes longer
    run = loop.trained(run)
    cam = sized(config.cam, run.network, run.config.data)
    find = build(run, choice, batch=cam.batch, chunk=cam.chunk)
    made_by = {"run": _identity(run.config), **choice._asdict()}
    tables = _Tables(workdir / "explain", made_by, run.config.data.labels)
    tables.write()  # what cannot be written is found out before the first scan is explained
    with Progress("explaining", len(scans)) as progress:
        for own, scan in scans.items():
            name = shown[own]
            try:
                given = _read(scan, how)
                found = find(Scan(name, given.hu))
                _check_finite(scan, found, given.volume)
                probability, found_boxes = _give_back(tables.folder / name, given, found, choice.threshold)
            except case.CaseError as error:
                tables.failed(name, _of_scan(str(error), scan, own, name))
            except (UserError, OSError):  # nothing more can be written
                raise
            except Exception as error:  # whatever it is, the other scans are explained
                logging.info("%s", name, exc_info=True)
                reason = (str(error).splitlines() or [""])[0]
                line = f"{scan.name}: could not be explained ({type(error).__name__}: {reason})"
                tables.failed(name, _of_scan(line, scan, own, name))
            else:
                positive = np.asarray((probability > 0.5).any(axis=1))
                bare = positive & ~np.asarray(found.heat.any(axis=(0, 1)))[given.volume.numbers]
                tables.add(name, probability, bare, boxes=found_boxes, shape=given.volume.own_shape)
                without = f"; the map of {bare.sum()} of them is zero" if bare.any() else ""
                progress.line(
                    f"{name}: {positive.sum()} of {len(positive)} slices positive, {len(found_boxes)} boxes{without}"
                )
                if isinstance(scan, dicom.Stack) and _can_be_referred_to(name, scan):
                    try:
                        origin = _origin(name, scan, run, choice, identity=config.explain.dicom_identity)
                        mask, heat = (
                            dicom.slices_first(given.volume.turn.stored(array))
                            for array in (found.heat > np.float32(choice.threshold), found.heat)
                        )
                        dicom_files.write(tables.folder, origin, mask=mask, heat=heat, positive=positive)
                    except case.CaseError as error:
                        tables.failed(name, str(error))
            tables.write()
            progress.advance()
    if tables.failures:
        raise UserError(
            f"{len(tables.failures)} of {len(scans)} scans could not be explained: {', '.join(tables.failures)}; "
            f"{tables.folder / 'explain.json'} has the reasons"
        )


class _Tables:
    """The tables of all scans, written whole after each: a run that is killed leaves those of what it finished."""

    def __init__(self, folder: Path, made_by: dict[str, Any], labels: Sequence[str]):
        self.folder, self.failures = folder, dict[str, str]()
        self._made_by, self._labels = made_by, labels
        columns = ["scan", "slice", *labels, "map_is_zero"]
        none = scan_files.boxes_rows("", np.zeros(0, np.int64), np.zeros((0, 4), np.int64), np.zeros(0))
        self._boxes, self._probabilities = [none], [pd.DataFrame(columns=columns)]
        self._shapes = dict[str, tuple[int, int, int]]()

    def add(
        self,
        name: str,
        probability: Float[np.ndarray, "n l"],
        bare: Bool[np.ndarray, " n"],
        *,
        boxes: pd.DataFrame,
        shape: tuple[int, int, int],
    ) -> None:
        """A scan is explained: each slice's probabilities, which have a map of zeros, boxes, and the scan's shape."""
        columns = dict(zip(self._labels, probability.T, strict=True))
        rows = {"scan": name, "slice": range(shape[2]), **columns, "map_is_zero": bare.astype(int)}
        self._probabilities.append(pd.DataFrame(rows))
        self._boxes.append(boxes)
        self._shapes[name] = shape

    def failed(self, name: str, reason: str) -> None:
        """A scan cannot be explained."""
        logging.error("%s", reason)
        self.failures[name] = reason

    def write(self) -> None:
        probabilities, boxes = (
            pd.concat(parts[1:] or parts, ignore_index=True) for parts in (self._probabilities, self._boxes)
        )
        results.write_text(self.folder / "probabilities.csv", probabilities.to_csv(index=False))
        scan_files.write_boxes(self.folder / "boxes.csv", boxes)
        results.write_json(self.folder / "boxes.coco.json", scan_files.coco(boxes, self._shapes))
        results.write_json(self.folder / "explain.json", self._made_by | {"failed": self.failures})


def _scans(options: ConfigDict) -> dict[str, Path | dicom.Stack]:
    """The scans by name: NIfTI files, or where there are none, the stacks of a DICOM folder."""
    path = Path(options.scans)
    if path.is_file() and not dicom.is_dicom(path):
        return {path.name.removesuffix(".gz").removesuffix(".nii"): path}
    names = [entry.name.lower() for entry in path.iterdir()] if path.is_dir() else []
    if any(name.endswith(generic.SUFFIXES) for name in names) or not dicom.is_dicom(path):
        return dict(generic.scans(path))
    found = dicom.find(path, every_series=options.every_series)
    for note in found.notes:
        say(note)
    if not dicom_files.available():
        say("no DICOM is written: pip install 'hemojax[dicom]'")
    return dict(found.stacks)


def _can_be_referred_to(name: str, stack: dicom.Stack) -> bool:
    """Whether DICOM objects are written for a stack; if its files are to blame, that is said."""
    classed = dicom.has_class(stack)
    if not classed:
        say(f"{name}: no DICOM is written: its files do not name their class (SOPClassUID)")
    return classed and dicom_files.available()


def _identity(config: ConfigDict) -> str:
    """The run's name and a digest of its config, as they stand in explain.json and in DICOM objects."""
    digest = hashlib.sha256(config.to_json_best_effort(sort_keys=True).encode()).hexdigest()
    return f"{config.name}-{digest[:12]}"


def _origin(name: str, stack: dicom.Stack, run: Run, choice: Choice, *, identity: bool) -> dicom_files.Origin:
    planes = stack.planes
    return dicom_files.Origin(
        scan=name,
        sources=dicom.sources(stack, identity=identity),
        frames=[plane.frame for plane in planes if plane.multi_frame],
        numbers=[plane.number for plane in planes],
        run=_identity(run.config),
        method=f"{choice.method} at {choice.stage} > {choice.threshold:.3g}",
        identified=identity,
    )


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
    maps = explained.program(run, methods, stages, seeds=1, chunk=chunk, mesh=mesh)
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


def _of_scan(line: str, scan: Path | dicom.Stack, own: str, shown: str) -> str:
    """A line that names a scan's file by its last name, or by the scan's digest where it goes under one.

    Args:
        line: what is said of the scan.
        scan: the scan.
        own: its name.
        shown: the name under which it goes.
    """
    line = line.replace(str(scan), scan.name)
    return line if shown == own else line.replace(scan.name, shown).replace(own, shown)


def _check_finite(scan: Path | dicom.Stack, found: Found, volume: Volume) -> None:
    """Refuse a scan for which the network finds NaN or infinities.

    Raises:
        CaseError: names the slices, as the scan's file counts them.
    """
    finite = {"logits": np.isfinite(found.logits).all(axis=1), "maps": np.isfinite(found.heat).all(axis=(0, 1))}
    for what, of_slice in finite.items():
        if not of_slice.all():
            slices = listed(np.sort(volume.numbers[~of_slice]))
            path = Path(scan.name) if isinstance(scan, dicom.Stack) else scan
            raise case.CaseError(path, f"the network's {what} are not finite in slices {slices}; look at the scan")


def _read(scan: Path | dicom.Stack, how: reading.Reading) -> Given:
    if isinstance(scan, dicom.Stack):
        path, (array, image) = Path(scan.name), dicom.read(scan)
        affine = np.asarray(image.affine, np.float64)
    else:
        path, (array, image) = scan, volume.read_nifti(scan)
        affine = volume.affine_mm(path, image, how.axes)
        if not (how.axes or volume.says_order(image)):
            say(f"{scan.name}: does not say the order of its array and is read as LAS; or name it: --config.data.axes")
    turned = volume.canonical(path, array, affine)
    return Given(intensity.to_hu(path, turned.array, how.intensity), turned, image, affine)


def _give_back(
    path: Path, given: Given, found: Found, threshold: float
) -> tuple[Float[np.ndarray, "n l"], pd.DataFrame]:
    """Write a scan's map, mask and montage; give the probabilities of its slices, and its boxes.

    All is in the scan's own order.

    Args:
        path: how the names of the files begin; the last part is the scan's name.
        given: the scan.
        found: what was found in it.
        threshold: above which heat is the mask.
    """
    name, turn = path.name, given.volume.turn
    probability = special.expit(found.logits[given.volume.numbers].astype(np.float64))
    mask = found.heat > np.float32(threshold)
    scan_files.write_heat(path.with_name(f"{name}_heat.nii.gz"), turn.stored(found.heat), given.image)
    scan_files.write_mask(path.with_name(f"{name}_mask.nii.gz"), turn.stored(mask), given.image)
    hu, heat, mask = (given.volume.own(array) for array in (given.hu, found.heat, mask))
    highest, affine = probability.max(axis=1), given.affine[:, [*turn.order_slices_last(), 3]]
    figure = scan_files.montage(
        name, hu, heat=heat, mask=mask, probability=highest, positive=highest > 0.5, affine=affine
    )
    figures.write_figure(path.with_name(f"{name}_montage.png"), figure)
    return probability, _boxes(name, heat, mask)
