"""A student: a small decoder on the trained network, which learns the network's own maps and then draws without them.

A map is scaled to its slice's highest value, whatever that is worth. The student sees the maps of all positive
training slices, and as many negative slices, which are empty by their label. No mask is looked at but to choose the
teacher, on validation: the map with the best pooled Dice of the chief mask target, and the threshold there.

It stands in the tables at the stage STUDENT, under the same name. Its decoder, its maps of the explained slices and
what it was taught by lie in `<workdir>/student/`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from flax import serialization
from jaxtyping import Array, Bool, Float, Float16, Int, PyTree

from hemojax import devices, results
from hemojax.batches import in_batches
from hemojax.benchmark import explained as explaining
from hemojax.benchmark import ground_truth, stored_maps
from hemojax.benchmark.explained import Explained
from hemojax.benchmark.stored_maps import MapBatch
from hemojax.cam import postprocess, refinement, registration, targets
from hemojax.cam.registry import costly
from hemojax.compilation import Program
from hemojax.data import augmentation, grey, hounsfield, loader, records
from hemojax.data.case import chief_target
from hemojax.errors import UserError
from hemojax.files import replacing
from hemojax.models.layers import Conv
from hemojax.network import Variables
from hemojax.progress import Progress
from hemojax.run import Run, TrainedRun
from hemojax.statistics import thresholds
from hemojax.statistics.summary import is_random
from hemojax.training import loop

STUDENT = "student"
WIDTH, EPOCHS, BATCH, RATE = 16, 6, 10, 5e-3
"""Channels of the decoder; epochs of a round; slices at once; the highest learning rate."""
UNSURE = 0.6
"""A pixel whose map lies between this share of the threshold and the threshold is not learnt."""

DECODER, MAPS = "decoder.msgpack", "maps.npy"

Images = Float[Array, "b s s c"]
Map = Float[Array, "s s"]
Maps = Float[Array, "b s s"]
Draw = Callable[[Images], Maps]


class Decoder(nn.Module):
    """Logits of pixels, from a network's stages and its input.

    Each stage is scaled to a mean square of 1, so that none drowns another; the input joins as patches of 2 x 2 pixels,
    and pixels come out as such. In between is a grid of half the input's side.

    Attributes:
        width: channels on that grid.
        shifts: how many cells each stage's cells lie further down and to the right, see `cam.registration`.
    """

    width: int
    shifts: tuple[float, ...]

    @nn.compact
    def __call__(self, features: Sequence[Float[Array, "b _ _ _"]], images: Images) -> Float[Array, "b s s"]:
        """Runs the decoder on the stages' outputs, one for each shift, and the images that they are of."""
        (b, s, _, c), half = images.shape, images.shape[1] // 2

        def drawn(x: Float[Array, "b _ _ width"], shift: float) -> Float[Array, "b half half width"]:
            of_channel = jax.vmap(lambda one: postprocess.resize(one, (half, half), shift), -1, -1)
            return jax.vmap(of_channel)(x)

        patches = images.reshape(b, half, 2, half, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, half, half, 4 * c)
        x = Conv(self.width, use_bias=True)(patches)
        for one, shift in zip(features, self.shifts, strict=True):
            scaled = one * jax.lax.rsqrt(jnp.square(one).mean((1, 2, 3), keepdims=True) + 1e-6)
            x += drawn(Conv(self.width, 1)(scaled), shift)
        for _ in range(2):
            x = Conv(self.width, use_bias=True)(jax.nn.relu(x))
        logits = nn.Dense(4, bias_init=nn.initializers.constant(-4.0))(jax.nn.relu(x))  # few pixels are a lesion's
        return logits.reshape(b, half, half, 2, 2).transpose(0, 1, 3, 2, 4).reshape(b, s, s)


class Teacher(NamedTuple):
    """A map, raw or refined, and where it is cut."""

    stage: str
    method: str
    threshold: float


class Lessons(NamedTuple):
    """What is learnt: training slices, by their numbers in the split, and the maps of the positive ones."""

    positive: Int[np.ndarray, " n"]
    negative: Int[np.ndarray, " m"]
    maps: Float16[np.ndarray, "n s s"]


@dataclasses.dataclass(frozen=True)
class Student:
    """A trained network, frozen, and the decoder behind it."""

    run: TrainedRun
    stages: tuple[str, ...]
    decoder: Decoder

    def features(self, variables: Variables, images: Images) -> list[Array]:
        """Outputs of the stages."""
        _, sown = self.run.network.apply(variables, images, until=self.stages[-1], mutable=["intermediates"])
        return [sown["intermediates"][stage] for stage in self.stages]

    def initial(self) -> PyTree:
        """The decoder's first parameters."""
        data, key = self.run.config.data, jax.random.key(self.run.config.seed)
        images = jnp.zeros((1, data.size, data.size, grey.channels(data)))
        found = jax.eval_shape(self.features, self.run.variables, images)
        return Program(lambda key: self.decoder.init(key, [jnp.zeros(one.shape) for one in found], images))(key)

    def logits(self, params: PyTree, variables: Variables, images: Images) -> Maps:
        """Of each pixel."""
        apply: Any = self.decoder.apply  # linen says that it may give a tuple
        return apply(params, self.features(variables, images), images)

    def draw(self, params: PyTree) -> Draw:
        """The program from images to their maps at `eval.size`: the mean over the image and its mirror image."""
        size = self.run.config.eval.size

        def drawn(params: PyTree, variables: Variables, images: Images) -> Maps:
            of_one, of_other = (self.logits(params, variables, images[:, ::step])[:, ::step] for step in (1, -1))
            mean = (jax.nn.sigmoid(of_one) + jax.nn.sigmoid(of_other)) / 2
            return jax.vmap(lambda one: postprocess.resize(one, (size, size)))(mean)

        return partial(Program(drawn), params, self.run.variables)


def of_run(run: TrainedRun) -> Student:
    """A student that sees the last stage of each resolution."""
    data = run.config.data
    images = jnp.zeros((1, data.size, data.size, grey.channels(data)))
    _, sown = jax.eval_shape(partial(run.network.apply, mutable=["intermediates"]), run.variables, images)
    last = {sown["intermediates"][stage].shape[1]: stage for stage in run.network.stages}
    shifts = tuple(registration.shift(run.network, data.size / cells) for cells in last)
    return Student(run, tuple(last.values()), Decoder(WIDTH, shifts))


def stored(run: TrainedRun) -> Draw:
    """What a taught student draws.

    Raises:
        UserError: there is none.
    """
    path = _home(run) / DECODER
    if not path.exists():
        raise UserError(f"{path}: no such file; run the benchmark with --config.eval.student=1 first")
    return of_run(run).draw(serialization.msgpack_restore(path.read_bytes()))


def teach(run: Run, explained: Explained, counts: pd.DataFrame) -> None:
    """Train the student and write its maps of the explained slices, unless that was done.

    Nothing is done where none is asked for. It takes `eval.student` rounds: in the first it learns the teacher's maps,
    in each further one its own, refined as the teacher's are.

    Args:
        run: which is trained, and whose maps are scored.
        explained: the slices that they explain.
        counts: the counts table, of which the validation split is looked at.
    """
    config, home = run.config, _home(run)
    if not config.eval.student:
        return
    run, teacher = loop.trained(run), choose_teacher(counts, chief_target(config.data.masks.to_dict()))
    described = {
        "teacher": teacher._asdict(),
        "rounds": config.eval.student,
        "weights": f"epoch {run.epoch}",
        "slices": [f"{row.case}/{row.slice}" for row in explained.slices.itertuples()],
    }
    stamp = home / "student.json"
    if stamp.exists() and results.read_json(stamp) == described:
        return
    student, reader = of_run(run), loader.Reader(run.records, share=0.0)
    lessons, threshold = _lessons(run, reader, teacher), teacher.threshold
    refined_by = refinement.parts(teacher.method)[1]
    for number in range(1, config.eval.student + 1):
        params = train(student, reader, lessons, threshold=threshold, name=f"student: round {number}")
        draw = student.draw(params)
        if number < config.eval.student:
            own = _drawn(run, reader, draw, records.read_index(run.records, "train").iloc[lessons.positive])
            lessons, threshold = lessons._replace(maps=_as_lessons(run, own, lessons.positive, refined_by)), 0.5
    heats = np.stack([np.asarray(one, np.float16) for one in _drawn(run, reader, draw, explained.slices)])
    with replacing(home / DECODER) as temporary:
        temporary.write_bytes(serialization.to_bytes(jax.device_get(params)))
    with replacing(home / MAPS) as temporary:
        np.save(temporary, heats)
    results.write_json(stamp, described)


def _home(run: Run) -> Path:
    return run.workdir / "student"


def batches(run: Run, explained: Explained) -> Iterator[MapBatch]:
    """The student's maps of all explained slices; nothing where none is asked for."""
    if run.config.eval.student:
        maps = np.load(_home(run) / MAPS, mmap_mode="r")
        for start in range(0, len(maps), run.config.cam.batch):
            heats = np.asarray(maps[start : start + run.config.cam.batch], np.float32)
            rows = explained.slices.iloc[start : start + len(heats)]
            yield MapBatch(STUDENT, ((STUDENT, 0),), rows, heats[:, None], full_size=True)


def choose_teacher(counts: pd.DataFrame, mask: str) -> Teacher:
    """The map with the best pooled Dice on validation, raw or refined, of all methods but the costly ones.

    Args:
        counts: the counts table.
        mask: the mask target.

    Raises:
        UserError: there is none.
    """
    known = counts[(counts["mask"] == mask) & ~counts["baseline"] & ~is_random(counts["method"])]
    known = known[[not costly(refinement.parts(name)[0]) for name in known["method"]]]
    best = thresholds.select_thresholds(known)
    best = best.loc[best["dice"].idxmax()]
    return Teacher(best["stage"], best["method"], float(best["threshold"]))


def lesson(maps: Maps, threshold: float) -> tuple[Bool[Array, "b s s"], Bool[Array, "b s s"]]:
    """Where maps see a lesion, and where they are sure: there, and well below the threshold."""
    found = maps > threshold
    return found, found | (maps <= UNSURE * threshold)


def loss(logits: Maps, target: Maps, sure: Maps) -> Float[Array, ""]:
    """Cross-entropy and soft Dice's loss (Milletari et al. 2016) of a batch's pixels, each weighted by `sure`."""
    entropy = jnp.sum(sure * optax.sigmoid_binary_cross_entropy(logits, target)) / jnp.sum(sure)
    found = sure * jax.nn.sigmoid(logits)
    return entropy + 1 - (2 * jnp.sum(found * target) + 1) / (jnp.sum(found + sure * target) + 1)


def train(
    student: Student, reader: loader.Reader, lessons: Lessons, *, threshold: float, name: str = STUDENT
) -> PyTree:
    """The decoder's parameters after EPOCHS, in each all positive slices and as many negative ones.

    Args:
        student: whose decoder is trained.
        reader: of the grey slices.
        lessons: what is learnt.
        threshold: above it a pixel of the maps is a lesion's.
        name: of the progress.
    """
    data, seed = student.run.config.data, student.run.config.seed
    key, first = jax.random.key(seed), grey.first_places(reader.folder)["train"]
    empty = min(len(lessons.positive), len(lessons.negative))
    size = min(BATCH, len(lessons.positive) + empty)
    per_epoch = (len(lessons.positive) + empty) // size
    steps = per_epoch * EPOCHS
    rate = optax.warmup_cosine_decay_schedule(RATE / 25, RATE, steps // 10, steps)
    optimiser = optax.adamw(rate, weight_decay=1e-2)

    def step(variables: Variables, state: Any, record: Array, levels: Array, maps: Maps) -> Any:
        number, params, moments = state
        learnt = [grey.from_levels(levels), *(part[..., None] for part in lesson(maps, threshold))]
        epoch = number // per_epoch
        varied = augmentation.augment(jnp.concatenate(learnt, -1), record, epoch, key, data.augmentation)
        images = hounsfield.normalise(varied[..., :-2], data.normalisation)
        target, sure = varied[..., -2], varied[..., -1]
        gradient = jax.grad(lambda params: loss(student.logits(params, variables, images), target, sure))(params)
        updates, moments = optimiser.update(gradient, moments, params)
        return number + 1, optax.apply_updates(params, updates), moments

    run_step, rng, params = Program(step), np.random.default_rng(seed), student.initial()
    state = jnp.zeros((), jnp.int32), params, optimiser.init(params)
    maps = np.concatenate([lessons.maps, np.zeros((1, *lessons.maps.shape[1:]), np.float16)])
    with Progress(name, steps) as progress:
        for _ in range(EPOCHS):
            record = np.concatenate([lessons.positive, rng.choice(lessons.negative, empty, replace=False)])
            of_record = np.minimum(np.arange(len(record)), len(lessons.maps))  # the last is empty
            order = rng.permutation(len(record))
            for at in np.split(order[: per_epoch * size], per_epoch):
                levels = reader.read(first + record[at])
                state = run_step(student.run.variables, state, record[at], levels, maps[of_record[at]])
                progress.advance()
    return state[1]


def _lessons(run: TrainedRun, reader: loader.Reader, teacher: Teacher) -> Lessons:
    """The teacher's maps of the training slices whose labels say that there is a lesion."""
    config, index = run.config, records.read_index(run.records, "train")
    truth = index[list(config.data.labels)].to_numpy()
    positive, negative = np.flatnonzero((truth == 1).any(axis=1)), np.flatnonzero((truth == 0).all(axis=1))
    label = (truth == 1).argmax(axis=1)  # of a slice with lesions of several kinds the first
    method, refined_by = refinement.parts(teacher.method)
    explain = explaining.program(run, (method,), (teacher.stage,), seeds=1)

    def maps() -> Iterator[Map]:
        for images, at, real in _images(run, reader, index.iloc[positive]):
            of_batch = targets.Target(jnp.asarray(label[positive[at]]), jnp.ones(len(at)))
            heats = explain(run.variables, images, of_batch, jnp.arange(len(at))).maps[teacher.stage, method]
            shift = stored_maps.shift(run, run.network, heats.shape[-1])
            yield from stored_maps.resized(config.eval.size, shift)(heats)[:real]

    return Lessons(positive, negative, _as_lessons(run, maps(), positive, refined_by))


def _images(run: Run, reader: loader.Reader, rows: pd.DataFrame) -> Iterator[tuple[Images, Int[np.ndarray, " b"], int]]:
    """The network's inputs for these rows of the index, their places in it, and how many of a batch count."""
    size = devices.whole_batch(min(run.config.cam.batch, len(rows)))
    places, normalisation = explaining.places(reader, rows), run.config.data.normalisation
    batches = loader.input_batches(reader, places, normalisation=normalisation, batch_size=size)
    for (images, _), (at, real) in zip(batches, in_batches(len(rows), size), strict=True):
        yield images, at, real


def _drawn(run: Run, reader: loader.Reader, draw: Draw, rows: pd.DataFrame) -> Iterator[Map]:
    """The student's map of each of these rows of the index."""
    for images, _, real in _images(run, reader, rows):
        yield from draw(images)[:real]


def _as_lessons(
    run: Run, maps: Iterator[Map], record: Int[np.ndarray, " n"], refined_by: str
) -> Float16[np.ndarray, "n s s"]:
    """These maps of training slices, refined, at the size of the network's input."""
    of_slice, size = ground_truth.Slices(run), run.config.data.size

    def made(one: Map, guide: Map) -> Map:
        refined = refinement.refine(refined_by, one[None], guide)[0] if refined_by else one
        return postprocess.resize(refined, (size, size)).astype(jnp.float16)

    program = Program(made)
    guides = (hounsfield.guide(of_slice.hu("train", int(number))) for number in record)
    return np.stack([np.asarray(program(one, guide)) for one, guide in zip(maps, guides, strict=True)])
