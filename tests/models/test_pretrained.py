import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from hemojax.errors import UserError
from hemojax.models import create
from hemojax.models.pretrained import load_torchvision, torchvision_name


def variables_of(outputs, seed):
    """Variables of a ResNet-18, each tensor with its own random values."""
    shapes = jax.eval_shape(create("resnet18", outputs).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(seed)
    kept = {name: shapes[name] for name in ("params", "batch_stats")}
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), kept)


def state_dict(variables):
    """The variables as torchvision would save them."""
    tensors = {}
    for collection in variables.values():
        for path, value in flatten_dict(collection).items():
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
            tensors[torchvision_name(path)] = np.ascontiguousarray(value.transpose(axes))
    return {**tensors, "bn1.num_batches_tracked": np.array(3)}


def test_names_are_torchvisions():
    assert torchvision_name(("layer1_0", "downsample_1", "mean")) == "layer1.0.downsample.1.running_mean"
    assert torchvision_name(("features_4_0", "block_2", "fc1", "kernel")) == "features.4.0.block.2.fc1.weight"
    names = state_dict(variables_of(1000, 0))
    assert names["layer4.0.downsample.0.weight"].shape == (512, 256, 1, 1)
    assert names["fc.weight"].shape == (1000, 512)


def test_every_tensor_arrives(tmp_path):
    theirs, ours = variables_of(4, 0), variables_of(4, 1)
    save_file(state_dict(theirs), tmp_path / "weights.safetensors")
    loaded = load_torchvision(tmp_path / "weights.safetensors", {**ours, "perturbations": {"stem": 0}})
    assert loaded.pop("perturbations") == {"stem": 0}
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, theirs))


def test_a_head_with_other_outputs_stays_fresh(tmp_path):
    theirs, ours = variables_of(4, 0), variables_of(2, 1)
    save_file(state_dict(theirs), tmp_path / "weights.safetensors")
    loaded = load_torchvision(tmp_path / "weights.safetensors", ours)
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded["params"].pop("fc"), ours["params"]["fc"]))
    del theirs["params"]["fc"]
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, theirs))


def test_every_tensor_that_does_not_fit_is_named(tmp_path):
    variables = variables_of(4, 0)
    tensors = state_dict(variables)
    del tensors["bn1.weight"], tensors["layer3.1.bn2.running_var"]
    tensors |= {"extra.weight": np.zeros(1, np.float32), "conv1.weight": np.zeros((64, 1, 7, 7), np.float32)}
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError) as error:
        load_torchvision(tmp_path / "weights.safetensors", variables)
    message = str(error.value)
    assert "\n" not in message
    for fault in (
        "missing bn1.weight",
        "missing layer3.1.bn2.running_var",
        "unexpected extra.weight",
        "conv1.weight of shape (7, 7, 1, 64) for (7, 7, 3, 64)",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.pth", b"\x80\x02", "convert with safetensors"),
        ("weights.safetensors", b"not one", "cannot be read"),
        ("weights.safetensors", None, "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_torchvision(tmp_path / name, {})
