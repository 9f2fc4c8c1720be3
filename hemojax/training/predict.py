"""Logits of many slices: the network as a classifier, without dropout and with the running statistics."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pandas as pd
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float
from ml_collections import ConfigDict
from scipy import special

from hemojax import devices
from hemojax.compilation import Program
from hemojax.data import grey, loader, records
from hemojax.data.loader import Reader
from hemojax.groups import map_groups
from hemojax.network import Network, Variables

Predict = Callable[[Variables, Float[Array | np.ndarray, "b s s c"]], Float[Array, "b l"]]


def build(network: Network, mesh: Mesh | None = None) -> Predict:
    """Compiled inference with the batch split over the devices; its size must be a multiple of their number.

    Args:
        network: the classifier.
        mesh: the devices; default: this process's.
    """
    mesh = mesh or devices.mesh()
    platform = devices.platform(mesh)

    def predict(variables: Variables, images: Float[Array, "b s s c"]) -> Float[Array, "b l"]:
        return map_groups(partial(network.apply, variables), platform, images)

    whole, divided = PartitionSpec(), PartitionSpec(devices.AXIS)
    share = jax.shard_map(predict, mesh=mesh, in_specs=(whole, divided), out_specs=divided, check_vma=False)
    return Program(share, platform)


def logits(
    predict: Predict, variables: Variables, reader: Reader, *, split: str, data: ConfigDict, batch_size: int
) -> pd.DataFrame:
    """Logits of every slice of a split.

    Args:
        predict: see `build`.
        variables: of the network.
        reader: of the grey slices.
        split: its name.
        data: the config's data section.
        batch_size: slices at once, on all devices.

    Returns:
        a row a slice and label, in the index's order: case, patient, slice, split, label, truth, logit, probability;
        slices whose truth is not known (-1) are left out.
    """
    index = records.read_index(reader.folder, split)
    places = grey.first_places(reader.folder)[split] + np.arange(len(index))
    batches = loader.input_batches(
        reader, places, normalisation=data.normalisation, batch_size=devices.whole_batch(batch_size)
    )
    computed = devices.in_turn((predict(variables, images), real) for images, real in batches)
    values = np.concatenate([np.asarray(found)[:real] for found, real in computed])
    frames = []
    for column, label in enumerate(data.labels):
        frame = index[["case", "patient", "slice", "split"]].assign(
            label=label, truth=index[label].astype(np.int8), logit=values[:, column].astype(np.float32)
        )
        frames.append(frame.assign(probability=special.expit(frame["logit"].to_numpy(np.float64))))
    table = pd.concat(frames, ignore_index=True)
    return table[table["truth"] >= 0].reset_index(drop=True)
