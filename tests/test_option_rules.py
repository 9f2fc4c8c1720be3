"""Every option has a rule, and what does not fit it is refused in a line that names it."""

import re

import pytest
from ml_collections import ConfigDict

from configs import bench, hemorica, phe_sich, smoke, speed
from hemojax import cli, option_rules
from hemojax.checks import checked
from hemojax.config import defaults
from hemojax.errors import UserError

OPTIONS = sorted(name.removeprefix("config.") for name in cli.options(defaults()))
NONSENSE = (None, "", "nonsense", -2, 0.123456789e9, float("nan"), (), ("nonsense", "nonsense"), (40, 80), {"a": 1})
TEXTS = ("data.root", "data.patients", "explain.", "speed.", "name", "model.weights", "task")
"""What may be any word, or is looked at by its task."""


def with_value(name, value):
    config = smoke.get_config()
    *sections, last = name.split(".")
    section = config
    for part in sections:
        section = section[part]
    with config.ignore_type():
        section[last] = value
    return config


def refusal(config):
    """The line in which it is refused, or nothing."""
    try:
        option_rules.check(config)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", OPTIONS)
def test_nonsense_is_refused_by_name(name):
    lines = [line for line in (refusal(with_value(name, value)) for value in NONSENSE) if line]
    assert len(lines) >= 6
    for line in lines:
        assert re.match(rf"(--config|no option).*{re.escape(name)}", line)
        assert "\n" not in line


@pytest.mark.parametrize("name", [name for name in OPTIONS if not name.startswith(TEXTS)])
def test_an_unknown_word_is_refused_by_name(name):
    default = cli.options(defaults())[f"config.{name}"]
    value = ("nonsense",) if isinstance(default, tuple) else "nonsense"
    if name == "data.patient_pattern":
        value = "(nonsense"
    with pytest.raises(UserError, match=re.escape(name)):
        checked(with_value(name, value))


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("data.windows", (40, 80), r"=\(40, 80\): give a tuple of windows, .*, like \(\(40, 80\),\)"),
        ("data.windows", ((40, 0),), "give a tuple of windows"),
        ("data.masks.haemorrhage", 1, r"=1: give a tuple of mask integers from 1 to 256, like \(1,\)"),
        ("data.masks.haemorrhage", (0, 1), "give a tuple of mask integers"),
        ("data.masks", ConfigDict(), "name what maps are scored against"),
        ("data.masks", ConfigDict({"a/b": (1,)}), "'a/b' is no name"),
        ("data.subtypes", ConfigDict({"EPH": (1,), "SDH": (1,)}), "1 stands for two subtypes"),
        ("data.subtypes", ConfigDict({"EPX": (1,)}), "'EPX': did you mean 'EPH'"),
        ("data.fractions", ConfigDict({"train": 1.0}), "is missing"),
        ("data.fractions", ConfigDict({"train": 0, "validation": 0, "test": 0}), "all are 0"),
        ("data.fold", 3, "there are 0 folds|give"),
        ("data.folds", 2, "3 or more, or 0"),
        ("train.batch", 0, "=0: give a whole number, 1 or more"),
        ("train.batch", True, "give a whole number"),
        ("train.epochs", -1, "give a whole number"),
        ("data.fractions.test", -0.1, "give a number, 0 or more"),
        ("explain.threshold", 1.5, "a number from 0 to 1, or -1"),
        ("cam.scorecam.slices", -1, "give a whole number, 0 or more"),
        ("data.patient_pattern", "(", "give a regular expression"),
        ("cam.methods", "gradcam", "give a tuple of names"),
        ("cam.scorcam", 3, "did you mean 'cam.scorecam"),
    ],
)
def test_the_right_form_is_shown(name, value, line):
    config = with_value(name, value)
    if name == "data.fold":
        config.data.folds, line = 3, "there are 3 folds"
    with pytest.raises(UserError, match=line):
        option_rules.check(config)


def test_the_built_in_configs_follow_the_rules():
    for config in (bench.get_config(), hemorica.get_config(), phe_sich.get_config("efficientnet_lite0")):
        option_rules.check(config)
    option_rules.check(speed.get_config("gpu"))


def test_every_rule_is_of_an_option():
    stars = {key for key in option_rules.RULES if "*" in key}
    assert set(option_rules.RULES) - stars <= set(OPTIONS)
    assert {option_rules.rule(name).form for name in OPTIONS}
