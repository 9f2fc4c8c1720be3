"""The main job on a phantom that hemojax generates itself.

python main.py --config=configs/bench.py                      EfficientNetV2-S or ResNet-18, see `get_config`
python main.py --config=configs/bench.py:efficientnet_v2_s
"""

from ml_collections import ConfigDict

from configs import base


def get_config(network: str = "resnet18") -> ConfigDict:
    """The phantom run, for `resnet18`, `resnet50` or `efficientnet_v2_s`."""
    config = base.get_config()
    config.name = f"bench_{network}"
    config.data.layout = "phantom"
    config.data.size = 128
    config.data.phantom = ConfigDict({"cases": 80, "size": 128, "slices": 14})
    config.eval.size = 128
    config.model.name = network
    config.train.epochs = 10
    config.cam.scorecam.slices = 8
    if network == "efficientnet_v2_s":
        config.cam.stages = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
        config.cam.scorecam.stages = ("stage5",)
        config.cam.scorecam.slices = 4
        config.cam.ablationcam.slices = 8
    return config
