"""Heat maps of slices with a lesion and of false positives, written batch by batch: a killed run goes on where it was.

Maps are kept at their stage's own resolution, which is small; they are resized when they are scored. What was computed
is described beside them: maps of other weights, methods or slices are never taken for these.
"""

import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from hemojax import devices, results
from hemojax.batches import filled
from hemojax.benchmark.explained import Explained, identities, places, program, spread, targets_of
from hemojax.cam import engine, postprocess, registration, targets
from hemojax.cam.registry import costly, draws_masks
from hemojax.compilation import Program
from hemojax.data import loader
from hemojax.errors import UserError
from hemojax.files import read_stamp, replacing
from hemojax.network import Network
from hemojax.progress import Progress
from hemojax.run import Run, TrainedRun, create_network

SHARED = "shared"
"""Name of the job of all methods that share a forward and a backward."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Methods that share their passes over the network, the stages they look at, and the slices they explain.

    Attributes:
        name: of the job's folder, a single part of a path.
        methods: names in METHODS.
        stages: names of the network's stages and inner taps.
        slices: rows of the index, of one or more splits.
    """

    name: str
    methods: tuple[str, ...]
    stages: tuple[str, ...]
    slices: pd.DataFrame


def jobs(cam: ConfigDict, slices: pd.DataFrame) -> list[Job]:
    """One job for all methods that share a forward and a backward; one a stage for each that runs the network anew.

    The latter may be restricted to fewer slices with a lesion of each split, spread evenly over it, with the same share
    of its false positives, and to fewer stages.
    """
    shared = tuple(name for name in cam.methods if not costly(name))
    found = [Job(SHARED, shared, tuple(cam.stages), slices)] if shared else []
    for name in cam.methods:
        if costly(name):
            limit = cam[name]
            stages = [stage for stage in cam.stages if stage in (limit.stages or cam.stages)]
            rows = spread(slices, limit.slices)
            found += [Job(f"{name}-{stage.replace('/', '-')}", (name,), (stage,), rows) for stage in stages]
    return found


def compute(run: TrainedRun, explained: Explained) -> pd.DataFrame:
    """Compute and write the maps of all jobs that are not there yet.

    With several processes each takes its share of the batches, and all wait for the last.

    They go to `<workdir>/maps/<job>/<batch>.npz`. Maps of another epoch's weights are made again.

    Args:
        run: the run.
        explained: the slices to explain.

    Returns:
        the timings table: a row a job, its slices, seconds, and seconds of compilation.
    """
    config = run.config
    rows, reader = [], loader.Reader(run.records, config.data.device_share)
    for job in jobs(config.cam, explained.slices):
        target = targets_of(config, job.slices, explained.logits)
        described = {
            "methods": list(job.methods),
            "stages": list(job.stages),
            "slices": [f"{row.case}/{row.slice}" for row in job.slices.itertuples()],
            "weights": f"epoch {run.epoch}",
            "target": config.cam.target,
            "seeds": config.cam.random_seeds,
            "batch": config.cam.batch,
            **_copies(config.cam, job),
        }
        home = run.maps / job.name
        stamp = home / "job.json"
        before = read_stamp(stamp)
        described = with_batches_of(before, described)
        if before != described and devices.is_first_host():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            results.write_json(stamp, described)
        devices.wait_for_all("job")
        rows.append(_compute_job(run, job, target, reader=reader, home=home, batch=int(described["batch"])))
    devices.wait_for_all("maps")
    return pd.DataFrame(rows)


def _copies(cam: ConfigDict, job: Job) -> dict[str, Any]:
    """What else a job's maps depend on, where they do."""
    drawn = {"registered": cam.registration} if cam.mirrored or any(map(draws_masks, job.methods)) else {}
    return drawn | ({"mirrored": list(cam.mirrored)} if cam.mirrored else {})


def with_batches_of(before: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """A job's description; in batches of the size that it was begun with, whatever another device has room for."""
    return before if before | {"batch": None} == described | {"batch": None} else described


def _compute_job(
    run: TrainedRun, job: Job, target: targets.Target, *, reader: loader.Reader, home: Path, batch: int
) -> dict[str, object]:
    config, mesh, size = run.config, devices.mesh(), devices.whole_batch(min(batch, len(job.slices)))
    explain = program(run, job.methods, job.stages, seeds=config.cam.random_seeds, mesh=mesh)
    variables, drawn = devices.replicate(run.variables), identities(job.slices)
    starts = range(0, len(job.slices), size)
    missing = [start for start in starts if not (home / f"{start:06d}.npz").exists()]
    mine = missing[jax.process_index() :: jax.process_count()]
    all_places = places(reader, job.slices)
    wanted = np.concatenate([all_places[start : start + size] for start in mine]) if mine else all_places[:0]
    compiled, compile_seconds, explained = None, 0.0, 0

    def explained_batches() -> Iterator[tuple[int, engine.Explanation]]:
        nonlocal compiled, compile_seconds
        batches = loader.input_batches(reader, wanted, normalisation=config.data.normalisation, batch_size=size)
        for start, (images, real) in zip(mine, batches, strict=True):
            rows = start + filled(real, size)
            inputs = (images, targets.Target(*(np.asarray(part)[rows] for part in target)), drawn[rows])
            if compiled is None:
                compiled_from = time.perf_counter()
                compiled = explain.lower(variables, *inputs).compile()
                compile_seconds = time.perf_counter() - compiled_from
            yield start, compiled(variables, *inputs)

    begun = time.perf_counter()
    with Progress(f"maps: {job.name}", len(starts), len(starts) - len(missing)) as progress:
        for start, found in devices.in_turn(explained_batches()):
            maps, real = jax.device_get(found.maps), min(size, len(job.slices) - start)
            explained += real
            maps = {f"{stage}/{method}": values[:real] for (stage, method), values in maps.items()}
            _check_finite(maps, job.slices.iloc[start : start + real])
            _write(home / f"{start:06d}.npz", maps)
            progress.advance()
    seconds = time.perf_counter() - begun - compile_seconds
    timing = home / f"timing-{jax.process_index()}.json"
    if explained or not timing.exists():
        # A run that goes on times the slices that it explains itself; one with nothing left to do keeps what was timed.
        figures = {"slices": explained, "seconds": seconds, "compile_seconds": compile_seconds}
        results.write_json(timing, figures)
    names = {"stage": "+".join(job.stages), "method": "+".join(job.methods), "what": job.name}
    return names | results.read_json(timing)


def _check_finite(maps: dict[str, np.ndarray], slices: pd.DataFrame) -> None:
    """Refuse maps that are no numbers, before any figure is made of them."""
    for name, values in maps.items():
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            row = slices.iloc[int(np.flatnonzero(~finite)[0])]
            raise UserError(
                f"the map {name} of {row['case']}, slice {row['slice']}, holds NaN or infinity; "
                "leave the method out of --config.cam.methods, or train again with a lower --config.train.learning_rate"
            )


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


@dataclasses.dataclass(frozen=True)
class MapBatch:
    """Maps of one stage as they were written.

    Attributes:
        stage: its name, "-" for baselines.
        names: (method, seed) of each map of a slice.
        rows: the slices, rows of the index.
        heats: in [0, 1].
        baseline: made without a network.
        full_size: they are as large as the grid on which pixels are counted.
        shift: in cells, see `cam.registration`.
        refine: what the maps at full size of the slice at this place become, see `cam.refinement`; None: raw maps.
    """

    stage: str
    names: tuple[tuple[str, int], ...]
    rows: pd.DataFrame
    heats: Float[np.ndarray, "b n h w"]
    baseline: bool = False
    full_size: bool = False
    shift: float = 0.0
    refine: Callable[[int, Float[Array, "n s s"]], Float[Array, "n s s"]] | None = None

    def only(self, name: tuple[str, int]) -> "MapBatch":
        """The maps of one method and seed alone."""
        at = self.names.index(name)
        return dataclasses.replace(self, names=(name,), heats=self.heats[:, at : at + 1])


def shift(run: Run, network: Network, cells: int) -> float:
    """By how many cells the maps of a stage of this many are moved, see `cam.registration`.

    Means over mirror images are at half-pixel centres already, see `cam.mirrors`.
    """
    moved = run.config.cam.registration and not run.config.cam.mirrored
    return registration.shift(network, run.config.data.size / cells) if moved else 0.0


@functools.cache
def resized(size: int, shift: float) -> Callable[[Float[Array, "n h w"]], Float[Array, "n size size"]]:
    """A program of its own for all that use the maps: fused into theirs, the last bits could differ among them."""
    one = functools.partial(postprocess.full_heat, size=(size, size), shift=shift)
    return Program(lambda maps: jax.lax.map(one, maps))


def read(run: Run, explained: Explained, only: str | None = None) -> Iterator[MapBatch]:
    """All maps of the run's jobs, or of the one of this name, a batch and stage at a time, a batch's stages in turn."""
    network = create_network(run.config)
    for job in jobs(run.config.cam, explained.slices):
        if only not in (None, job.name):
            continue
        for path in sorted((run.maps / job.name).glob("*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                for stage in job.stages:
                    names, heats = [], []
                    for method in job.methods:
                        maps = arrays[f"{stage}/{method}"]
                        maps = maps[:, None] if maps.ndim == 3 else maps
                        names += [(method, seed) for seed in range(maps.shape[1])]
                        heats.append(maps)
                    stacked = np.concatenate(heats, axis=1)
                    start = int(path.stem)
                    rows = job.slices.iloc[start : start + len(stacked)]
                    moved = shift(run, network, stacked.shape[-1])
                    yield MapBatch(stage, tuple(names), rows, stacked, shift=moved)
