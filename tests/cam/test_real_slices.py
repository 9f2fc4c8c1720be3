"""pytorch-grad-cam and hemojax side by side, in float32, on real head CT: the maps as the library returns them."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from configs import phe_sich
from hemojax import cam
from hemojax.data import grey, volume
from hemojax.models import create, pretrained

pytestmark = [pytest.mark.peers, pytest.mark.real_data]
METHODS = ("gradcam", "hirescam", "gradcam_elementwise", "xgradcam", "layercam", "shapleycam", "fem", "ablationcam_pgc")
STAGES = ("stage2", "stage4")


@pytest.fixture(scope="module")
def slices():
    """Four slices with a bleed, of four patients, as the network sees them."""
    if "HEMOJAX_PHE_SICH" not in os.environ:
        pytest.skip("HEMOJAX_PHE_SICH does not name the folder of real head CTs")
    folder = Path(os.environ["HEMOJAX_PHE_SICH"])
    index = pd.read_csv(folder / "slices.csv", dtype={"patient": str})
    bleeding = index[index["hemorrhage_binary"] == 1].groupby("patient").nth(2).head(4)
    data = phe_sich.get_config("resnet18").data
    grey = [
        grey.from_hu(volume.read_nifti(folder / "images" / f"{row.patient}.nii.gz")[0][..., row.slice], data)
        for row in bleeding.itertuples()
    ]
    return np.repeat(np.stack(grey), 3, axis=-1)  # torchvision's networks see colours


def test_final_maps(slices):
    torch = pytest.importorskip("torch", reason="torch is not installed (requirements-compare.txt)")
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed (requirements-compare.txt)")
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed (requirements-compare.txt)")
    from hemojax.speed import cams_torch, networks_torch

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=1).eval()
    network = create("resnet18", 1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(slices))
    empty = {name: shapes[name] for name in pretrained.COLLECTIONS}
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    variables = pretrained.fit(tensors, "torchvision", network, empty)
    found = cam.explain(network, variables, slices, methods=METHODS, stages=STAGES, target=0)
    x = torch.from_numpy(slices).permute(0, 3, 1, 2)
    modules = dict(zip(network.stages, networks_torch.stage_modules(theirs), strict=True))
    size = slices.shape[1:3]
    for (stage, method), maps in found.maps.items():
        _, final = cams_torch.explained(
            cams_torch.METHODS[method], theirs, modules[stage], x, [lambda y: y[0]] * len(x)
        )
        mine = jax.vmap(lambda one: cam.full_heat(one, size))(maps)
        np.testing.assert_allclose(mine, final, atol=5e-3, err_msg=f"{stage} {method}")
