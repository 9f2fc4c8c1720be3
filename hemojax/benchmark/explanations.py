"""Heat maps of slices with a lesion and of false positives, written batch by batch: a killed run goes on where it was.

Maps are kept at their stage's own resolution, which is small; they are resized when they are scored. What was computed
is described beside them: maps of other weights, methods or slices are never taken for these.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.cam import engine, random, targets
from hemojax.cam.inputs import ABLATED
from hemojax.cam.registry import METHODS
from hemojax.data import grey, loader, records
from hemojax.files import replacing
from hemojax.models.staged import StagedNetwork
from hemojax.progress import Progress
from hemojax.reporting import tables
from hemojax.training.state import Variables

COSTLY = ABLATED | frozenset(
    {
        "position_scores",
        "masked_scores",
        "noisy_masked_scores",
        "integrated_masked_scores",
        "group_gains",
        "optimised_weights",
    }
)
"""What takes many runs of the network a slice."""


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


def explained_slices(folder: Path, data: ConfigDict, logits: pd.DataFrame) -> pd.DataFrame:
    """Rows of the index, validation before test, of slices with a lesion and of false positives.

    A slice has a lesion if something of any mask target is drawn in it. A false positive has none, its first label is
    0, and the classifier calls some label positive (logit > 0). A slice that is labelled positive, but in which nothing
    is drawn, is neither.

    Args:
        folder: the records.
        data: the config's data section.
        logits: the table of logits, see `training.predict.logits`.

    Returns:
        the index's columns, and `lesion`.
    """
    wanted = {value for values in data.masks.values() for value in values}
    index = pd.concat([records.read_index(folder, split) for split in ("validation", "test")], ignore_index=True)
    lesion = np.array([bool(wanted & set(drawn)) for drawn in index["drawn"]])
    called = set(logits.loc[logits["logit"] > 0, ["case", "slice"]].itertuples(index=False, name=None))
    positive = np.array([place in called for place in zip(index["case"], index["slice"], strict=True)])
    false_positive = ~lesion & (index[data.labels[0]].to_numpy() == 0) & positive
    return index.assign(lesion=lesion)[lesion | false_positive].reset_index(drop=True)


def jobs(cam: ConfigDict, slices: pd.DataFrame) -> list[Job]:
    """One job for all methods that share a forward and a backward; one a stage for each that runs the network anew.

    The latter may be restricted to fewer slices with a lesion of each split, spread evenly over it, with the same share
    of its false positives, and to fewer stages.
    """
    shared = tuple(name for name in cam.methods if not METHODS[name].needs & COSTLY)
    found = [Job("shared", shared, tuple(cam.stages), slices)] if shared else []
    for name in cam.methods:
        if METHODS[name].needs & COSTLY:
            limit = cam[name]
            stages = [stage for stage in cam.stages if stage in (limit.stages or cam.stages)]
            rows = spread(slices, limit.slices)
            found += [Job(f"{name}-{stage.replace('/', '-')}", (name,), (stage,), rows) for stage in stages]
    return found


def spread(slices: pd.DataFrame, number: int) -> pd.DataFrame:
    """At most `number` slices with a lesion of each split, and as large a share of the others; all of them for 0.

    Both at even distances, in the order of the slices.
    """
    kept = []
    for _, rows in slices.groupby("split", sort=False):
        with_lesion = int(rows["lesion"].sum())
        share = min(1, number / with_lesion) if number and with_lesion else 1
        for _, alike in rows.groupby("lesion"):
            take = round(share * len(alike))
            kept += alike.index[((np.arange(take) + 0.5) * len(alike) / max(take, 1)).astype(int)].tolist()
    return slices.loc[sorted(kept)].reset_index(drop=True)


def compute(
    config: ConfigDict,
    network: StagedNetwork,
    variables: Variables,
    weights: str,
    folder: Path,
    slices: pd.DataFrame,
    logits: pd.DataFrame,
    workdir: Path,
) -> pd.DataFrame:
    """Compute and write the maps of all jobs that are not there yet.

    With several processes each takes its share of the batches, and all wait for the last.

    Args:
        config: the run's config.
        network: the classifier.
        variables: its parameters and statistics.
        weights: names the variables; maps of other ones are made again.
        folder: the records.
        slices: the rows to explain, see `explained_slices`.
        logits: the table of logits of the slices, see `training.predict.logits`.
        workdir: maps go to `<workdir>/maps/<job>/<batch>.npz`.

    Returns:
        the timings table: a row a job, its slices, seconds, and seconds of compilation.
    """
    rows, reader = [], loader.Reader(folder, config.data.device_share)
    for job in jobs(config.cam, slices):
        target = slice_targets(config, job.slices, logits)
        described = {
            "methods": list(job.methods),
            "stages": list(job.stages),
            "slices": [f"{row.case}/{row.slice}" for row in job.slices.itertuples()],
            "weights": weights,
            "target": config.cam.target,
            "seeds": config.cam.random_seeds,
            "batch": config.cam.batch,
        }
        home = workdir / "maps" / job.name
        stamp = home / "job.json"
        before = json.loads(stamp.read_text()) if stamp.exists() else {}
        described = with_batches_of(before, described)
        if before != described and devices.is_first_host():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            tables.write_json(stamp, described)
        devices.wait_for_all("job")
        rows.append(_run(config, network, variables, reader, job, target, home, int(described["batch"])))
    devices.wait_for_all("maps")
    return pd.DataFrame(rows)


def with_batches_of(before: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """A job's description; in batches of the size that it was begun with, whatever another device has room for."""
    return before if before | {"batch": None} == described | {"batch": None} else described


def slice_targets(config: ConfigDict, slices: pd.DataFrame, logits: pd.DataFrame) -> targets.Target:
    """The config's target of each of these slices."""
    labels = list(config.data.labels)
    truth = slices[labels].to_numpy() == 1
    wide = logits.pivot_table(index=["case", "slice"], columns="label", values="logit")[labels]
    values = wide.loc[list(zip(slices["case"], slices["slice"], strict=True))].to_numpy(np.float32)
    return targets.resolve(config.cam.target, labels)(truth, values)


def _run(
    config: ConfigDict,
    network: StagedNetwork,
    variables: Variables,
    reader: loader.Reader,
    job: Job,
    target: targets.Target,
    home: Path,
    batch: int,
) -> dict[str, object]:
    mesh, size = devices.mesh(), devices.whole_batch(min(batch, len(job.slices)))
    explain = engine.build(
        network, job.methods, job.stages, seeds=config.cam.random_seeds, chunk=config.cam.chunk, mesh=mesh
    )
    variables = devices.replicate(variables)
    identities = np.array([random.identity(row.case, row.slice) for row in job.slices.itertuples()])
    starts = range(0, len(job.slices), size)
    missing = [start for start in starts if not (home / f"{start:06d}.npz").exists()]
    mine = missing[jax.process_index() :: jax.process_count()]
    places = slice_places(reader, job.slices)
    wanted = np.concatenate([places[start : start + size] for start in mine]) if mine else places[:0]
    compiled, compile_seconds, explained = None, 0.0, 0

    def explained_batches() -> Iterator[tuple[int, engine.Explanation]]:
        nonlocal compiled, compile_seconds
        batches = loader.input_batches(reader, wanted, config.data.normalisation, size)
        for start, (images, real) in zip(mine, batches, strict=True):
            rows = np.arange(start, start + real)
            padded = np.concatenate([rows, np.repeat(rows[:1], size - real)])
            inputs = (images, targets.Target(*(np.asarray(part)[padded] for part in target)), identities[padded])
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
            _write(home / f"{start:06d}.npz", {f"{s}/{m}": v[:real] for (s, m), v in maps.items()})
            progress.advance()
    seconds = time.perf_counter() - begun - compile_seconds
    timing = home / f"timing-{jax.process_index()}.json"
    if explained or not timing.exists():
        # A run that goes on times the slices that it explains itself; one with nothing left to do keeps what was timed.
        figures = {"slices": explained, "seconds": seconds, "compile_seconds": compile_seconds}
        tables.write_json(timing, figures)
    names = {"stage": "+".join(job.stages), "method": "+".join(job.methods), "what": job.name}
    return names | tables.read_json(timing)


def slice_places(reader: loader.Reader, rows: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """Where the reader finds these rows of the index."""
    return grey.places(reader.folder, rows["split"].tolist(), rows["record"].to_numpy(np.int64))


def slice_images(config: ConfigDict, folder: Path, rows: pd.DataFrame, size: int) -> Float[np.ndarray, "b s s c"]:
    """The network's inputs for these few rows of the index, with copies of the first up to `size`."""
    reader = loader.Reader(folder, share=0.0)
    places, batch = slice_places(reader, rows), devices.whole_batch(size)
    ((images, _),) = loader.input_batches(reader, places, config.data.normalisation, batch)
    return np.asarray(images)[:size]


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
    """

    stage: str
    names: tuple[tuple[str, int], ...]
    rows: pd.DataFrame
    heats: Float[np.ndarray, "b n h w"]
    baseline: bool = False

    def only(self, name: tuple[str, int]) -> "MapBatch":
        """The maps of one method and seed alone."""
        at = self.names.index(name)
        return dataclasses.replace(self, names=(name,), heats=self.heats[:, at : at + 1])


def read(config: ConfigDict, slices: pd.DataFrame, workdir: Path) -> Iterator[MapBatch]:
    """All maps of the config's jobs, a batch and stage at a time."""
    for job in jobs(config.cam, slices):
        for path in sorted((workdir / "maps" / job.name).glob("*.npz")):
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
                    yield MapBatch(stage, tuple(names), job.slices.iloc[start : start + len(stacked)], stacked)
