"""Training from the records to the best checkpoint; a killed run goes on from its last epoch."""

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from hemojax import devices
from hemojax.data import augmentation, grey, hounsfield, loader, records
from hemojax.errors import UserError
from hemojax.metrics import classification
from hemojax.models import pretrained
from hemojax.network import Variables
from hemojax.progress import Progress
from hemojax.run import Run, TrainedRun, create_network
from hemojax.training import erasing, predict, sampling, state, step
from hemojax.training.checkpoints import Checkpoints

LOGS = ("train.jsonl", "events")
"""What `Log` writes into the run's folder."""
DENSE = 2
"""Axes of a dense layer's kernel."""


def initial_variables(config: ConfigDict) -> Variables:
    """Fresh variables from the seed, or the given weights with a fresh classifier, scaled by `train.head_scale`."""
    network = create_network(config)
    key = jax.random.key(config.seed)
    variables = state.initialise(network, config.data.size, grey.channels(config.data), key)
    if config.model.weights:
        path = pretrained.locate(config.model.weights, config.model.name)
        variables = pretrained.load(path, network, variables)
    return {**variables, "params": _with_scaled_head(variables["params"], config)}


def _with_scaled_head(params: Mapping[str, Any], config: ConfigDict) -> dict[str, Any]:
    """The parameters with `train.head_scale` times the kernels of the dense layers, which give the logits."""
    return {
        name: {**layer, "kernel": config.train.head_scale * layer["kernel"]}
        if getattr(layer.get("kernel"), "ndim", 0) == DENSE
        else layer
        for name, layer in params.items()
    }


def trained(run: Run) -> TrainedRun:
    """The run with the variables of its best epoch.

    Raises:
        UserError: nothing was trained there.
    """
    network, data = create_network(run.config), run.config.data
    channels = grey.channels(data)
    like = jax.eval_shape(lambda: state.initialise(network, data.size, channels, jax.random.key(0)))
    checkpoints = Checkpoints(run.checkpoints)
    try:
        epoch, variables = checkpoints.best(like)
    finally:
        checkpoints.close()
    return TrainedRun(run.config, run.workdir, network, variables, epoch)


def training_inputs(config: ConfigDict, per_epoch: int) -> step.Inputs:
    """The network's inputs in a training step: augmented, the same way whenever it is run again, and normalised.

    Args:
        config: the run's config.
        per_epoch: how many steps an epoch has.
    """
    key, data = jax.random.fold_in(jax.random.key(config.seed), 2), config.data

    def inputs(levels: Array, record: Array, number: Array) -> Array:
        varied = augmentation.augment(grey.from_levels(levels), record, number // per_epoch, key, data.augmentation)
        # Stored once, not computed anew for each patch of the first convolution.
        return jax.lax.optimization_barrier(hounsfield.normalise(varied, data.normalisation))

    return inputs


def eraser(config: ConfigDict) -> step.Erase | None:
    """What adds copies with an erased place to a step's batch, or None where the config asks for none."""
    if not config.train.erasing:
        return None
    air, bone = (
        float(
            hounsfield.normalise(
                np.full((1, 1, grey.planes(config.data)), value, np.float32), config.data.normalisation
            )[0, 0, 0]
        )
        for value in (0, 1)
    )
    return partial(
        erasing.with_copies,
        create_network(config),
        share=config.train.erasing,
        stage=config.train.erasing_stage,
        limits=(air, bone),
    )


def train(run: Run, reader: loader.Reader, initial: Variables) -> None:
    """Train the run's network on the slices of the training split, up to `config.train.epochs`.

    Args:
        run: what to train, and where.
        reader: of its grey slices.
        initial: the network's variables before the first step, see `initial_variables`.

    The host waits for a step's figures only where they are written, every `config.train.log_steps` steps and at the end
    of an epoch; in between it stays two steps ahead of the devices.

    Writes into the run's folder: `checkpoints/` (last and best), `train.jsonl` (a line a step and a line an epoch) and
    `events/` (the same for TensorBoard). If they are there already, training goes on from the last epoch.

    Raises:
        UserError: the batch is larger than the training split; a step's figures, the state after an epoch, or its
            scores are not finite. No checkpoint of such a state is kept.
    """
    config = run.config
    per_process = config.train.batch // jax.process_count()
    per_epoch = loader.batches_an_epoch(reader.folder, per_process)
    if per_epoch == 0:
        raise UserError(f"--config.train.batch={config.train.batch} is larger than the training split")
    steps = config.train.epochs * per_epoch
    optimiser = state.optimizer(config.train, steps)
    current = state.create(initial, optimiser)
    checkpoints = Checkpoints(run.checkpoints)
    done, current = checkpoints.last(current) or (0, current)
    if done >= config.train.epochs:
        checkpoints.close()
        return

    current = devices.replicate(current)
    index = records.read_index(reader.folder, "train")
    run_step = step.build(
        create_network(config, devices.AXIS),
        optimiser,
        positive_weight=positive_weights(index, config),
        key=jax.random.fold_in(jax.random.key(config.seed), 1),
        inputs=training_inputs(config, per_epoch),
        erase=eraser(config),
    )
    infer = predict.build(create_network(config))
    log = Log(run.workdir, done)
    batches = loader.train_batches(
        reader,
        labels=config.data.labels,
        batch_size=per_process,
        seed=config.seed,
        start=done * per_epoch,
        stop=steps,
        weights=sampling.weights(index, config.data.labels[0], config.train.sampling),
    )

    def run_epoch() -> Iterator[step.Metrics]:
        nonlocal current
        for batch in itertools.islice(batches, per_epoch):
            current, metrics = run_step(current, batch)
            yield metrics

    with closing(log), closing(checkpoints), Progress("training", steps, done * per_epoch) as progress:
        for epoch in range(done + 1, config.train.epochs + 1):
            losses: list[float] = []
            unread: list[step.Metrics] = []
            for number, metrics in enumerate(devices.in_turn(run_epoch()), 1):
                unread.append(metrics)
                if number % config.train.log_steps == 0 or number == per_epoch:
                    for figures in jax.device_get(unread):
                        losses.append(float(figures["loss"]))
                        step_number = (epoch - 1) * per_epoch + len(losses)
                        named = {name: float(value) for name, value in figures.items()}
                        check_finite(config, named, f"step {step_number} (epoch {epoch})")
                        log.write("step", epoch, step_number, named)
                    progress.advance(f"epoch {epoch}, loss {losses[-1]:.3f}", steps=len(unread))
                    unread.clear()
            broken = state.not_finite(current)  # of batch norm, before any loss shows it
            if broken:
                raise UserError(_diverged(config, f"{broken[0]} holds NaN or infinity after epoch {epoch}"))
            table = predict.logits(
                infer,
                current.variables,
                reader,
                split="validation",
                data=config.data,
                batch_size=config.eval.batch,
            )
            scores = {"train_loss": float(np.mean(losses)), **validation_scores(table)}
            # Without the AUROC, which is NaN where validation has one kind of slice.
            losses_alone = {name: value for name, value in scores.items() if name.endswith("loss")}
            check_finite(config, losses_alone, f"epoch {epoch}")
            log.write("epoch", epoch, epoch * per_epoch, scores)
            checkpoints.save(epoch, current, scores["validation_loss"])
            progress.line(f"epoch {epoch:3d}  " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()))


def check_finite(config: ConfigDict, figures: Mapping[str, float], when: str) -> None:
    """Refuse figures of training that are no numbers.

    Args:
        config: the run's config.
        figures: by name.
        when: they were taken, for the message.

    Raises:
        UserError: one is NaN or infinite.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise UserError(_diverged(config, f"{name} is {value} at {when}"))


def _diverged(config: ConfigDict, found: str) -> str:
    return f"training has diverged: {found}; lower --config.train.learning_rate={config.train.learning_rate:g}"


def positive_weights(index: pd.DataFrame, config: ConfigDict) -> Float[Array, " l"]:
    """Weight of a positive label in the loss; `train.positive_weight=0` gives negatives / positives of each label.

    Raises:
        UserError: a label is not known for every training slice, or never positive.
    """
    weights = []
    for label in config.data.labels:
        column = index[label].to_numpy()
        if (column < 0).any() or not (column > 0).any():
            why = "not known for every" if (column < 0).any() else "positive in no"
            raise UserError(f"--config.data.labels: {label} is {why} training slice; choose other labels")
        balanced = (column == 0).sum() / (column > 0).sum()
        weights.append(config.train.positive_weight or balanced)
    return jnp.asarray(weights, jnp.float32)


def validation_scores(table: pd.DataFrame) -> dict[str, float]:
    """Loss, and AUROC of the first label, of a table of logits."""
    truth, logit = table["truth"].to_numpy(np.float64), table["logit"].to_numpy(np.float64)
    first = table[table["label"] == table["label"].iloc[0]]
    return {
        "validation_loss": float(np.mean(np.logaddexp(0, logit) - truth * logit)),
        "validation_auroc": classification.auroc(first["truth"].to_numpy(), first["logit"].to_numpy()),
    }


class Log:
    """Figures of every step and epoch, as lines of JSON and as TensorBoard events; written by the first host alone.

    Args:
        workdir: the run's folder.
        epochs: epochs that stand; lines of later ones, from a run that was killed, are dropped.
    """

    def __init__(self, workdir: Path, epochs: int):
        first = devices.is_first_host()
        path = workdir / LOGS[0] if first else Path(os.devnull)
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] <= epochs]
        path.write_text("".join(kept))
        self._file = path.open("a")
        purge = json.loads(kept[-1])["step"] + 1 if kept else 0
        from tensorboardX import SummaryWriter  # not before it is needed: it imports PyTorch where that is installed

        self._events = SummaryWriter(str(workdir / LOGS[1]), purge_step=purge, write_to_disk=first)

    def write(self, kind: str, epoch: int, number: int, figures: dict[str, float]) -> None:
        """One line, and an event for each figure."""
        row: dict[str, Any] = {"kind": kind, "epoch": epoch, "step": number, **figures}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._events.add_scalar(f"{kind}/{name}", value, number)

    def close(self) -> None:
        """Finish both files."""
        self._file.close()
        self._events.close()
