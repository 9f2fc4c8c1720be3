"""How fast hemojax is beside PyTorch on this machine: paired rounds, each contender in its own process.

pip install -r requirements-compare.txt
python main.py --config=configs/speed.py --config.speed.what=networks
    10 min a network on 2 CPU cores, up to 20 GB; forward 1.4 times as fast as PyTorch channels_last, see docs/speed.md
python main.py --config=configs/speed.py --config.speed.what=layers
python main.py --config=configs/speed.py --config.speed.what=cams --config.speed.networks="('efficientnet_v2_s',)" \
    --config.speed.rounds=1
    class activation maps against pytorch-grad-cam, torch-cam and captum, which need minutes for some: an hour
python main.py --config=configs/speed.py --config.speed.what=metrics
    pixel counts against numpy, boxes against scikit-image, ROAD's imputation against pytorch-grad-cam: samples of 20
    and 40 slices (66 maps each); 10 min. Counts 10 times as fast as a loop over thresholds, 11 times as binned numpy,
    boxes 7 times as regionprops on all cores
python main.py --config=configs/speed.py --config.speed.what=input
    slices a second on their way to the device, and the share of an epoch in which it waits; 3 min a network
python main.py --config=configs/speed.py --config.speed.what=forms
    convolutions that may be computed in several ways, each way with the batch norm and the activation that follow
python main.py --config=configs/speed.py:gpu --config.speed.what=networks
    the same for one GPU: larger batches, in float32 and bfloat16; `benchmarks/gpu.sh` runs these and more
python main.py --config=configs/speed.py:tiny
    everything once, as small as it can be; its figures mean nothing
"""

from ml_collections import ConfigDict

from hemojax.config import defaults


def get_config(machine: str = "cpu") -> ConfigDict:
    """Forward, gradients of all stages, and a training step: of three networks on a `cpu`, of one on a `gpu`, `tiny`.

    Raises:
        ValueError: the word is another.
    """
    config = defaults()
    config.name = "speed"
    config.task = "speed"
    config.cam.chunk = 64
    speed = config.speed
    if machine == "cpu":
        return config
    if machine == "gpu":
        speed.networks = ("efficientnet_v2_s",)
        speed.dtypes = ("float32", "bfloat16")
        speed.batch = 256
        speed.cam_batch = 128
        speed.rounds = 5
        config.cam.chunk = 256
        return config
    if machine == "tiny":
        speed.networks = ("resnet18",)
        speed.dtypes = ("float32", "bfloat16")
        speed.batch = 2
        speed.cam_batch = 2
        speed.size = 32
        speed.rounds = 1
        speed.slices = 1
        speed.map_size = 32
        return config
    raise ValueError(f"configs/speed.py:{machine}: give cpu, gpu or tiny")
