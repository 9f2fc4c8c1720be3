"""Checkpoints with orbax: the last one, to go on from, and the best one by validation loss, to use."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from hemojax.errors import UserError
from hemojax.files import check_room
from hemojax.training.state import TrainState, Variables, not_finite


class Checkpoints:
    """The checkpoints of one run, in `<folder>/last` and `<folder>/best`; each is complete or absent.

    Args:
        folder: where they are kept; made if it is missing.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        last = ocp.CheckpointManagerOptions(max_to_keep=1)
        best = ocp.CheckpointManagerOptions(max_to_keep=1, best_fn=lambda m: m["validation_loss"], best_mode="min")
        self._last = ocp.CheckpointManager(folder.absolute() / "last", options=last)
        self._best = ocp.CheckpointManager(folder.absolute() / "best", options=best)

    def save(self, epoch: int, state: TrainState, validation_loss: float) -> None:
        """Keep the state after this epoch, and its variables too if no epoch before had a lower validation loss.

        Raises:
            UserError: the disk has no room for them.
        """
        metrics = {"validation_loss": validation_loss}
        # As numpy arrays, which the first host writes: every host holds the same state, and orbax refuses device arrays
        # that are not spread over all hosts.
        state = jax.device_get(state)
        # Orbax fails in the background, with many words.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves((state, state.variables)))
        check_room(self._folder, needed, "a checkpoint")
        # The best first: a run killed between the two repeats the epoch, and saves both.
        if epoch not in self._best.all_steps():
            self._best.save(epoch, args=ocp.args.StandardSave(state.variables), metrics=metrics)
        self._best.wait_until_finished()
        self._last.save(epoch, args=ocp.args.StandardSave(state), metrics=metrics)
        self._last.wait_until_finished()

    def last(self, like: TrainState) -> tuple[int, TrainState] | None:
        """The last epoch and its state, or None before the first.

        Raises:
            UserError: it holds what is not finite.
        """
        epoch = self._last.latest_step()
        return None if epoch is None else (epoch, _restore(self._last, epoch, like))

    def best(self, like: Variables) -> tuple[int, Variables]:
        """The epoch with the lowest validation loss, and its variables.

        Raises:
            UserError: there is no checkpoint, or it holds what is not finite.
        """
        epoch = self._best.best_step()
        if epoch is None:
            raise UserError(f"{self._best.directory}: holds no checkpoint; train first, or name the run's --workdir")
        return epoch, _restore(self._best, epoch, like)

    def close(self) -> None:
        """Wait for what is being written."""
        self._last.close()
        self._best.close()


def _restore(manager: ocp.CheckpointManager, epoch: int, like: Any) -> Any:
    arrays = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    found = manager.restore(epoch, args=ocp.args.StandardRestore(arrays))
    broken = not_finite(found)
    if broken:
        raise UserError(f"{manager.directory}: {broken[0]} of epoch {epoch} holds NaN or infinity; train again")
    return found
