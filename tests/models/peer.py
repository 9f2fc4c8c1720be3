"""A PyTorch network beside ours: the same weights on the same images, and what each makes of them."""

from copy import deepcopy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.pictures import LABELS, whole

from hemojax.models import pretrained

torch = pytest.importorskip("torch", reason="needs requirements-compare.txt (torch)")

LOGIT = 1


def randomised(network):
    """The network in float32 and in eval mode, with random weights and batch statistics.

    Its layers do not widen the values: otherwise those of a deep network explode, and its rounding errors with them.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 2, 8)
    return network.eval()


def variables_of(theirs, network):
    """The weights of their network as variables of ours, in its dtype; every tensor has to find its place."""
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), network.param_dtype)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    shapes = {collection: shapes[collection] for collection in pretrained.COLLECTIONS}
    # copies: training changes their tensors in place
    tensors = {name: t.detach().numpy().copy() for name, t in theirs.state_dict().items()}
    variables = pretrained.fit(tensors, "their network", network, shapes)
    # a linear layer that was left as it was would still be a mere shape
    leaves = zip(jax.tree.leaves(variables), jax.tree.leaves(shapes), strict=True)
    assert all(isinstance(leaf, jax.Array) and leaf.shape == shape.shape for leaf, shape in leaves)
    return variables


def random_images(height, width, batch=1):
    """NCHW, in float32."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height + width))


def pictures():
    """Photographs as ImageNet networks see them, NCHW, in float32."""
    return torch.from_numpy(np.stack([whole(name) for name in LABELS])).permute(0, 3, 1, 2)


def nhwc(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def their_pass(network, modules, x, following=()):
    """Logits, and with one logit's gradient each module's output and the input of each `following`, as they appear."""
    outputs = []

    def keep(tensor):
        tensor.retain_grad()
        outputs.append(tensor)

    hooks = [module.register_forward_hook(lambda module, inputs, output: keep(output)) for module in modules]
    hooks += [module.register_forward_pre_hook(lambda module, inputs: keep(inputs[0])) for module in following]
    logits = network(x)
    logits[:, LOGIT].sum().backward()
    for hook in hooks:
        hook.remove()
    return logits.detach().numpy(), [nhwc(output) for output in outputs], [nhwc(output.grad) for output in outputs]


def our_pass(network, variables, x):
    """Logits, and each link's output with one logit's gradient in it."""

    def score(perturbations, images):
        given = {**variables, "perturbations": perturbations}
        logits, tapped = network.apply(given, images, mutable=["intermediates"])
        return logits[:, LOGIT].sum(), (logits, tapped["intermediates"])

    images = jnp.asarray(nhwc(x))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)["perturbations"]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    step = jax.jit(jax.value_and_grad(score, has_aux=True))
    (_, (logits, outputs)), gradients = jax.tree.map(np.asarray, step(zeros, images))
    return logits, [outputs[link] for link in network.links], [gradients[link] for link in network.links]


def largest_difference(ours, theirs):
    """As a share of the largest of their values."""
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def assert_float64_agrees(theirs, modules_of, create, x, following=lambda network: ()):
    """Logits, and the output and gradient of every stage and inner tap, to 1e-8 of their largest value.

    Args:
        theirs: their network in float32.
        modules_of: the modules, of their network, at whose outputs our links end.
        create: makes our network, given a dtype.
        x: images, see `random_images`.
        following: the modules at whose inputs the other links end, where no module has those outputs alone.
    """
    exact = deepcopy(theirs).double()
    expected = their_pass(exact, modules_of(exact), x.double(), following(exact))
    with jax.enable_x64(True):
        network = create(dtype=jnp.float64)
        found = our_pass(network, variables_of(exact, network), x.double())
    differences = {"logits": largest_difference(found[0], expected[0])}
    for kind, our, their in zip(("output", "gradient"), found[1:], expected[1:], strict=True):
        for link, ours, theirs_ in zip(network.links, our, their, strict=True):
            differences[kind, link] = largest_difference(ours, theirs_)
    assert max(differences.values()) < 1e-8, differences


def assert_float32_is_as_exact(theirs, create, x):
    """Our float32 logits are at most three times as far from float64 as PyTorch's own are."""
    with torch.inference_mode():
        rounded, exact = theirs(x).numpy(), deepcopy(theirs).double()(x.double()).numpy()
    network = create(dtype=jnp.float32)
    apply = jax.jit(network.apply)
    logits = np.asarray(apply(variables_of(theirs, network), jnp.asarray(nhwc(x))))
    assert np.abs(logits - exact).max() <= 3 * np.abs(rounded - exact).max()
