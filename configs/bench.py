"""The main job on a phantom that hemojax generates itself: synthetic head CT, ResNet-18, every method, every stage.

python main.py --config=configs/bench.py
    8 min on 2 CPU cores, 2.4 GB; test AUROC 0.977 to 0.998 and pooled Dice 0.69 to 0.84, refined, in four trainings
    (docs/results.md)
python main.py --config=configs/bench.py:efficientnet_v2_s
    the study's network; not measured yet
"""

from ml_collections import ConfigDict

from hemojax.config import defaults


def get_config(network: str = "resnet18") -> ConfigDict:
    """The phantom run, for `resnet18`, `resnet50` or `efficientnet_v2_s`."""
    config = defaults()
    config.name = f"bench_{network}"
    config.data.layout = "phantom"
    config.data.phantom.update(cases=160, size=96, slices=14)
    config.data.size = 96
    config.eval.size = 96
    # Blood lies at 45 to 85 HU and calcifications above: the wide windows tell them apart where the brain window is
    # white for both, and the network learns in a few epochs.
    config.data.windows = ((40.0, 80.0), (80.0, 200.0), (40.0, 380.0))
    config.data.augmentation.flip_j = 0.0
    config.data.augmentation.affine = 0.0
    config.model.name = network
    config.train.epochs = 6
    config.train.batch = 8
    config.train.warmup = 0.1
    config.cam.ablationcam.slices = 20
    config.cam.scorecam.slices = 8
    if network == "efficientnet_v2_s":
        config.cam.stages = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
        config.cam.scorecam.stages = ("stage5",)
        config.cam.ablationcam.slices = 8
        config.cam.scorecam.slices = 4
    return config
