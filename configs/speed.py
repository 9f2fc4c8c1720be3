"""How fast hemojax is beside PyTorch on this machine: paired rounds, each contender in its own process.

pip install -r requirements-compare.txt
python main.py --config=configs/speed.py --config.speed.what=networks
    6 min a network on 2 CPU cores; 22 GB for EfficientNetV2-S: with less, take one of speed.workloads at a time;
    forward 0.85 (ResNet-50) to 1.2 times (EfficientNetV2-S) as fast as PyTorch channels_last, see the README
python main.py --config=configs/speed.py --config.speed.what=layers
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Forward, gradients of all stages, and a training step of three networks."""
    config = base.get_config()
    config.name = "speed"
    config.task = "speed"
    return config
