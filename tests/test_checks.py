import pytest

from configs import smoke
from hemojax.checks import checked
from hemojax.errors import UserError
from hemojax.run import TrainedRun, create_network
from hemojax.tasks import explain


def test_stages_by_other_names_become_the_networks_own():
    config = smoke.get_config()
    config.cam.stages = ("layer2", "stage2", "layer4")
    config.cam.scorecam.stages = ("layer2",)
    found = checked(config)
    assert found.cam.stages == ("stage2", "stage4")
    assert found.cam.scorecam.stages == ("stage2",)
    assert config.cam.stages == ("layer2", "stage2", "layer4")
    assert checked(found) == found


def test_the_stage_to_explain_may_have_another_name(tmp_path):
    config = smoke.get_config()
    config.explain.update(method="gradcam", stage="layer3", threshold=0.5)
    run = TrainedRun(config, tmp_path, create_network(config), {}, 1)
    assert explain.choose(config.explain, run) == ("gradcam", "stage3", 0.5)
    config.explain.stage = "layer9"
    with pytest.raises(UserError, match=r"no stage 'layer9': did you mean '.*'\? There are stem, stage1"):
        explain.choose(config.explain, run)


def test_erasing_is_a_share_and_needs_a_stage():
    config = smoke.get_config()
    config.train.update(erasing=0.5, erasing_stage="layer3")
    assert checked(config).train.erasing_stage == "stage3"
    config.data.mirror_channels = True
    with pytest.raises(UserError, match=r"leave out --config\.data\.mirror_channels"):
        checked(config)
    config.data.mirror_channels = False
    config.train.erasing_stage = ""
    with pytest.raises(UserError, match=r"--config\.train\.erasing_stage"):
        checked(config)
    config.train.erasing = 1.5
    with pytest.raises(UserError, match=r"--config\.train\.erasing=1\.5"):
        checked(config)
