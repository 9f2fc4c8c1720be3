"""Everything once, as small as it can be: for tests. Its figures mean nothing.

python main.py --config=configs/smoke.py      about a minute on 2 CPU cores
"""

from ml_collections import ConfigDict

from hemojax.config import defaults


def get_config() -> ConfigDict:
    """A phantom of a dozen small scans, two epochs, every method at two stages."""
    config = defaults()
    config.name = "smoke"
    config.data.layout = "phantom"
    config.data.phantom.update(cases=12, size=64, slices=6)
    config.data.size = 64
    config.eval.size = 64
    config.eval.gallery = 1
    config.eval.sanity.slices = 2
    config.eval.faithfulness.slices = 2
    config.eval.faithfulness.steps = 4
    config.train.epochs = 2
    config.train.batch = 8
    config.cam.batch = 8
    config.cam.stages = ("stage2", "stage3")
    config.cam.random_seeds = 2
    config.cam.scorecam = ConfigDict({"slices": 2, "stages": ("stage3",)})
    config.cam.ablationcam = ConfigDict({"slices": 2, "stages": ("stage3",)})
    return config
