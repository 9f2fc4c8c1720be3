"""A trained network for PyTorch."""

from pathlib import Path

from ml_collections import ConfigDict

from hemojax import devices
from hemojax.models import pretrained
from hemojax.run import stored
from hemojax.training import loop


def export(config: ConfigDict, workdir: Path) -> None:
    """Write the best checkpoint's weights to `<workdir>/weights.safetensors`, under PyTorch's names.

    Raises:
        UserError: the folder holds no trained run, or its network has a local head.
    """
    run = loop.trained(stored(workdir))
    if devices.is_first_host():
        pretrained.save(workdir / "weights.safetensors", run.network, run.variables)
