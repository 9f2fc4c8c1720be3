"""The study itself: EfficientNetV2-S on Hemorica (arXiv 2508.17699), for a GPU or TPU.

python main.py --config=configs/hemorica.py --config.data.root=/folder/of/hemorica \
    --config.model.weights=/file/of/efficientnet_v2_s-dd5fe13b.pth
    not run yet: the data set and an accelerator are needed

Each setting carries its source: "paper" is arXiv 2508.17699 (abstract and public summaries), "pipeline" the same
group's later public pipeline (github TaraneRafati/Bayesian-Fusion). The paper's figures, on its own split: stage 5
best; AblationCAM Dice 0.57, IoU 0.40; HiResCAM best for boxes.
"""

from ml_collections import ConfigDict

from hemojax.config import defaults


def get_config(network: str = "efficientnet_v2_s") -> ConfigDict:
    """The study's setting; paper: EfficientNetV2-S."""
    config = defaults()
    config.name = f"hemorica_{network}"
    config.data.layout = "hemorica"
    config.data.masks = ConfigDict({"haemorrhage": tuple(range(1, 256))})  # pipeline: mask > 0
    config.data.subtypes = ConfigDict()  # the mask's integers are not public; the tables name the subtypes
    config.data.size = 512  # pipeline
    config.data.windows = ((40.0, 80.0),)  # pipeline: brain window
    config.data.per_slice_minmax = True  # pipeline: per-slice min-max to 0..255
    config.data.augmentation = ConfigDict(
        # pipeline: vertical flip 0.5; shift, scale, rotate by 0.1, 0.1 and 15 degrees at 0.5. What is vertical where a
        # slice is looked at, front to back, is the second axis of the canonical orientation.
        {"flip_i": 0.0, "flip_j": 0.5, "affine": 0.5, "shift": 0.1, "scale": 0.1, "rotate": 15.0}
    )
    config.model.name = network  # paper
    config.train.optimizer = "adam"  # pipeline
    config.train.learning_rate = 1e-3  # pipeline
    config.train.batch = 16  # pipeline
    config.train.epochs = 40  # pipeline; the best checkpoint by validation loss
    config.cam.target = "ground_truth"  # pipeline
    # Paper: nine methods, which no public summary names; the ten of hemojax/config.py cover every reading.
    # Paper: all stages.
    config.cam.stages = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
    config.cam.scorecam = ConfigDict({"slices": 0, "stages": ()})  # all slices and stages: for an accelerator
    config.cam.registration = False  # pytorch-grad-cam's drawing; hemojax's own is True
    config.eval.refine = ()  # the study's maps are raw
    config.eval.size = 512  # the slices' own grid
    config.eval.protocol = "hemorica_paper"  # pipeline: t = 0.5, on TP + FP + FN slices
    return config
