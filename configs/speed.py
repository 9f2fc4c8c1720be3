"""How fast hemojax is beside PyTorch on this machine: paired rounds, each contender in its own process.

pip install -r requirements-compare.txt
python main.py --config=configs/speed.py --config.speed.what=networks
    10 min a network on 2 CPU cores, up to 20 GB; forward 1.4 times as fast as PyTorch channels_last, see the README
python main.py --config=configs/speed.py --config.speed.what=layers
python main.py --config=configs/speed.py --config.speed.what=cams --config.speed.networks="('efficientnet_v2_s',)" \
    --config.speed.rounds=1
    class activation maps against pytorch-grad-cam, torch-cam and captum, which need minutes for some: an hour
python main.py --config=configs/speed.py --config.speed.what=metrics
    pixel counts against numpy, boxes against scikit-image, ROAD's imputation against pytorch-grad-cam: samples of 20
    and 40 slices (66 maps each); 10 min. Counts 10 times as fast as a loop over thresholds, 11 times as binned numpy,
    boxes 7 times as regionprops on all cores
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Forward, gradients of all stages, and a training step of three networks."""
    config = base.get_config()
    config.name = "speed"
    config.task = "speed"
    return config
