"""The student: what it learns of whom, and where its maps stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from benchmark import bright_heads

from hemojax import results
from hemojax.benchmark import full_maps, ground_truth, scoring, stored_maps, student
from hemojax.benchmark.explained import Explained, images
from hemojax.config import defaults
from hemojax.data import grey, loader, records
from hemojax.errors import UserError
from hemojax.models.resnet import ResNet
from hemojax.run import TrainedRun
from hemojax.tasks import explain
from hemojax.training import state

SIZE, STAGES = 48, ("stage1", "stage2")
NETWORK = ResNet(1, depths=(1, 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of a network that was never trained; the student sees the image beside it."""
    workdir = tmp_path_factory.mktemp("run")
    config = defaults()
    config.data.size = config.eval.size = SIZE
    config.data.masks = {"lesion": (1, 2)}
    config.cam.update(methods=("gradcam",), stages=STAGES[:1], batch=2)
    config.eval.student = 2
    folder = bright_heads.prepare(workdir / "records")
    grey.prepare(folder, config.data)
    variables = state.initialise(NETWORK, SIZE, 3, jax.random.key(0))
    return TrainedRun(config, workdir, NETWORK, variables, 3)


@pytest.fixture(scope="module")
def explained(run):
    """Slices that bleed, and maps of them."""
    index = records.read_index(run.records, "validation"), records.read_index(run.records, "test")
    rows = pd.concat([part[part["any"] == 1].assign(lesion=True) for part in index], ignore_index=True)
    heats = np.random.default_rng(0).random((len(rows), 12, 12)).astype(np.float32)
    for start in range(0, len(rows), 2):
        part = {f"{stage}/gradcam": heats[start : start + 2] for stage in STAGES[:1]}
        stored_maps._write(run.maps / stored_maps.SHARED / f"{start:06d}.npz", part)
    return Explained(rows, rows[["case", "slice"]].assign(label="any", logit=1.0))


def lessons(run):
    """Maps that are warm in the bleed, and not sure around it."""
    index, of_slice = records.read_index(run.records, "train"), ground_truth.Slices(run)
    positive, negative = np.flatnonzero(index["any"] == 1), np.flatnonzero(index["any"] == 0)
    maps = np.stack([of_slice.masks("train", int(number))[0] for number in positive]).astype(np.float16)
    return student.Lessons(positive, negative, maps)


def test_it_learns_its_lessons_and_finds_the_bleed_of_other_patients(run, explained, monkeypatch):
    monkeypatch.setattr(student, "EPOCHS", 50)
    run.config.data.augmentation.update(affine=0.0)
    taught = student.of_run(run)
    assert taught.stages == STAGES
    params = student.train(taught, loader.Reader(run.records, 0.0), lessons(run), threshold=0.5)
    rows = explained.slices
    found = np.asarray(taught.draw(params)(images(run, rows, len(rows)))) > 0.5
    true = np.stack([ground_truth.Slices(run).masks(row.split, row.record)[0] for row in rows.itertuples()])
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.8


def test_its_maps_stand_in_the_tables(run, explained, monkeypatch):
    monkeypatch.setattr(student.loop, "trained", lambda _: run)
    monkeypatch.setattr(student, "EPOCHS", 1)
    scores = scoring.score(run, explained)
    for table in (scores.counts, scores.maps, scores.curves):
        of_student = table[table["stage"] == student.STUDENT]
        assert set(of_student["method"]) == {"student", "student+pamr"}
    described = results.read_json(run.workdir / "student" / "student.json")
    assert described["rounds"] == 2
    assert described["teacher"]["stage"] in STAGES
    heats = {
        (case, number): heat
        for case, number, heat in full_maps.heat_of(run, explained, stage=student.STUDENT, method=student.STUDENT)
    }
    rows = explained.slices
    drawn = np.asarray(student.stored(run)(images(run, rows, len(rows))))
    for row, expected in zip(rows.itertuples(), drawn, strict=True):
        np.testing.assert_allclose(heats[row.case, row.slice], expected, atol=1e-3)
    # What was taught is not taught again.
    monkeypatch.setattr(student, "train", None)
    student.teach(run, explained, scores.counts[scores.counts["stage"] != student.STUDENT])


def test_explain_draws_what_it_draws(run, explained, monkeypatch):
    of_slice, row = ground_truth.Slices(run), next(explained.slices.itertuples())
    hu = of_slice.hu(row.split, row.record).astype(np.int16)
    monkeypatch.setattr(explain.predict, "build", lambda _: lambda _, images: np.ones((len(images), 1), np.float32))
    choice = explain.Choice(student.STUDENT, student.STUDENT, 0.5)
    find = explain.build(run, choice, batch=2, chunk=1)
    found = find(explain.Scan("scan", np.stack([hu, hu[::-1]], axis=-1)))
    rows = explained.slices.iloc[:1]
    expected = np.asarray(student.stored(run)(images(run, rows, 1)))[0]
    np.testing.assert_allclose(found.heat[..., 0], expected, atol=1e-5)
    with pytest.raises(UserError, match="student"):
        explain.build(run, explain.Choice("gradcam", student.STUDENT, 0.5), batch=2, chunk=1)


def test_an_unsure_pixel_is_not_learnt():
    target, sure = student.lesson(jnp.array([[[0.0, 0.1, 0.29], [0.31, 0.4, 0.5], [0.51, 0.7, 1.0]]]), 0.5)
    np.testing.assert_array_equal(target[0], [[False] * 3, [False] * 3, [True] * 3])
    np.testing.assert_array_equal(sure[0], [[True] * 3, [False] * 3, [True] * 3])
    gradient = jax.grad(student.loss)(jnp.zeros(target.shape), target.astype(float), sure.astype(float))
    np.testing.assert_array_equal(np.sign(gradient)[0], [[1] * 3, [0] * 3, [-1] * 3])


def test_the_loss_is_cross_entropy_and_dice():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(2, 5, 5)), (rng.random((2, 5, 5)) > 0.5).astype(float)
    found = 1 / (1 + np.exp(-logits))
    entropy = -np.mean(target * np.log(found) + (1 - target) * np.log(1 - found))
    dice = (2 * (found * target).sum() + 1) / (found.sum() + target.sum() + 1)
    value = student.loss(*(jnp.asarray(part) for part in (logits, target, np.ones_like(target))))
    np.testing.assert_allclose(value, entropy + 1 - dice, rtol=1e-5)


def test_the_teacher_is_the_best_cheap_map_on_validation():
    same = {"case": "c", "slice": 3, "stage": "stage1", "seed": 0, "mask": "lesion", "threshold": 0.5, "fp": 0}
    found = [("validation", "ablationcam", 10), ("validation", "gradcam", 5), ("validation", "hirescam+pamr", 8)]
    found += [("validation", "randomcam+pamr", 10), ("test", "gradcam", 10), ("test", "hirescam+pamr", 1)]
    rows = [same | {"split": split, "method": name, "tp": tp, "fn": 10 - tp} for split, name, tp in found]
    counts = pd.DataFrame(rows).assign(baseline=False)
    assert student.choose_teacher(counts, "lesion") == ("stage1", "hirescam+pamr", 0.5)


def test_pixels_come_out_where_they_went_in():
    images = jax.random.normal(jax.random.key(0), (1, 12, 12, 1))
    decoder = student.Decoder(4, (0.0,))
    features = [jnp.ones((1, 6, 6, 3))]
    params = decoder.init(jax.random.key(1), features, images)
    moved = images.at[0, 6, 2, 0].add(1.0)
    changed = np.abs(decoder.apply(params, features, moved) - decoder.apply(params, features, images))[0]
    rows, columns = np.nonzero(changed > 1e-6)
    assert 6 in rows
    assert 2 in columns
    assert columns.max() <= 9  # three 3x3 convolutions on patches of 2 pixels reach 6 to 7 pixels far


def test_there_must_be_a_student_to_draw(run, tmp_path):
    with pytest.raises(UserError, match=r"eval\.student"):
        student.stored(TrainedRun(run.config, tmp_path, run.network, run.variables, 1))
