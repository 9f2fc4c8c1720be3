"""The form and range of every option, looked at before anything else is done.

Which names there are of networks, methods and the like is asked where these are known: `hemojax/checks.py`.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from hemojax.config import defaults
from hemojax.data.labels import LABELS
from hemojax.errors import UserError, check_name


class Rule(NamedTuple):
    """What an option may be.

    Attributes:
        fits: whether a value is that.
        form: in words, for "give ...".
    """

    fits: Callable[[Any], bool]
    form: str


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_tuple(value: Any, fits: Callable[[Any], bool], least: int = 0) -> bool:
    return isinstance(value, tuple | list) and len(value) >= least and all(map(fits, value))


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def whole(least: int, most: int | None = None) -> Rule:
    """Whole numbers from `least` on, up to `most`."""
    form = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"
    return Rule(lambda value: _is_whole(value) and least <= value <= (value if most is None else most), form)


def number(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Rule:
    """Numbers from `least` to `most`, and larger than `above`."""
    parts = [f"above {above:g}"] * (above > -math.inf) + [f"{least:g} or more"] * (least > -math.inf)
    parts += [f"{most:g} at most"] * (most < math.inf)
    return Rule(lambda value: _is_number(value) and least <= value <= most and value > above, _and("a number", parts))


def _and(form: str, parts: list[str]) -> str:
    return ", ".join([form, *parts])


def names(example: str, *, least: int = 0) -> Rule:
    """Tuples of different words."""
    form = f"a tuple of names, each once{', one at least' if least else ''}, like {example}"
    return Rule(lambda value: _is_tuple(value, _is_word, least) and len(set(value)) == len(value), form)


def choice(*words: str) -> Rule:
    """One of these words."""
    return Rule(lambda value: value in words, f"one of {', '.join(words)}")


def _is_window(value: Any) -> bool:
    return _is_tuple(value, _is_number) and len(value) == 2 and value[1] > 0


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _integers(most: int) -> Rule:
    form = f"a tuple of mask integers from 1 to {most}, like (1,) or (1, 2)"
    return Rule(lambda value: _is_tuple(value, lambda part: _is_whole(part) and 1 <= part <= most, 1), form)


TEXT = Rule(lambda value: isinstance(value, str), "text")
WORD = Rule(_is_word, "a word")
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
SHARE = number(0.0, 1.0)
BELOW_ONE = Rule(lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to below 1")
SEED = whole(0, 2**31 - 1)
STAGES = Rule(lambda value: _is_tuple(value, _is_word), "a tuple of stages, like ('stage2',)")
WINDOWS = Rule(
    lambda value: _is_tuple(value, _is_window, 1),
    "a tuple of windows, centre and width above 0 of each, in HU, like ((40, 80),) or ((40, 80), (80, 200))",
)
LABEL_NAMES = "('any',) or ('any', 'IPH')"

RULES = {
    "name": Rule(
        lambda value: _is_word(value) and not re.search(r"(^|[/\\])\.\.([/\\]|$)", value), "a name for the run's folder"
    ),
    "task": WORD,
    "seed": SEED,
    "seeds": Rule(lambda value: _is_tuple(value, SEED.fits), "a tuple of whole numbers, 0 or more, like (0, 1, 2)"),
    "data.layout": WORD,
    "data.root": TEXT,
    "data.labels": names(LABEL_NAMES, least=1),
    "data.masks.*": _integers(256),
    "data.subtypes.*": _integers(255),
    "data.fractions.*": number(0.0),
    "data.on_error": choice("stop", "skip"),
    "data.hash_names": FLAG,
    "data.intensity": WORD,
    "data.axes": TEXT,
    "data.resample_masks": FLAG,
    "data.contradictions": choice("refuse", "table", "mask"),
    "data.patients": TEXT,
    "data.patient_pattern": Rule(_is_pattern, "a regular expression, like '^(.*)_[ab]$'"),
    "data.stratify": names(LABEL_NAMES),
    "data.split_seed": SEED,
    "data.folds": Rule(
        lambda value: _is_whole(value) and (value == 0 or value >= 3), "a whole number, 3 or more, or 0"
    ),
    "data.fold": whole(-1),
    "data.size": whole(16, 8192),
    "data.windows": WINDOWS,
    "data.mirror_channels": FLAG,
    "data.per_slice_minmax": FLAG,
    "data.normalisation": WORD,
    "data.device_share": SHARE,
    "data.augmentation.flip_i": SHARE,
    "data.augmentation.flip_j": SHARE,
    "data.augmentation.affine": SHARE,
    "data.augmentation.shift": SHARE,
    "data.augmentation.scale": BELOW_ONE,
    "data.augmentation.rotate": number(0.0, 180.0),
    "data.phantom.cases": whole(1),
    "data.phantom.size": whole(32, 1024),
    "data.phantom.slices": whole(2),
    "data.phantom.seed": SEED,
    "model.name": WORD,
    "model.weights": TEXT,
    "model.local_stage": TEXT,
    "model.local_pooling": WORD,
    "model.dtype": WORD,
    "train.epochs": whole(1),
    "train.batch": whole(1),
    "train.optimizer": WORD,
    "train.learning_rate": number(above=0.0),
    "train.warmup": BELOW_ONE,
    "train.weight_decay": number(0.0),
    "train.log_steps": whole(1),
    "train.head_scale": number(0.0),
    "train.sampling": WORD,
    "train.erasing": SHARE,
    "train.erasing_stage": TEXT,
    "train.pretrain": TEXT,
    "train.pretrain_epochs": whole(1),
    "train.positive_weight": number(0.0),
    "cam.methods": names("('gradcam', 'layercam')", least=1),
    "cam.stages": Rule(lambda value: _is_tuple(value, _is_word, 1), STAGES.form),
    "cam.registration": FLAG,
    "cam.mirrored": Rule(
        lambda value: _is_tuple(value, lambda axis: axis in ("i", "j")), "('i',), ('j',), ('i', 'j'), or () for none"
    ),
    "cam.target": WORD,
    "cam.random_seeds": whole(1),
    "cam.batch": whole(0),
    "cam.chunk": whole(0),
    "cam.*.slices": whole(0),
    "cam.*.stages": STAGES,
    "eval.batch": whole(1),
    "eval.size": whole(16, 8192),
    "eval.refine": names("('pamr',), or () for none"),
    "eval.fuse": whole(0),
    "eval.student": whole(0),
    "eval.gallery": whole(0),
    "eval.protocol": WORD,
    "eval.sanity.slices": whole(0),
    "eval.faithfulness.slices": whole(0),
    "eval.faithfulness.steps": whole(1),
    "eval.faithfulness.blur": number(above=0.0),
    "explain.scans": TEXT,
    "explain.every_series": FLAG,
    "explain.dicom_identity": FLAG,
    "explain.mask": TEXT,
    "explain.method": TEXT,
    "explain.stage": TEXT,
    "explain.threshold": Rule(
        lambda value: _is_number(value) and (value == -1 or 0 <= value <= 1),
        "a number from 0 to 1, or -1 for the one chosen on validation",
    ),
    "speed.what": WORD,
    "speed.networks": names("('resnet18',)", least=1),
    "speed.workloads": names("('forward', 'training')", least=1),
    "speed.requests": names("('gradcam',), or () for all"),
    "speed.batch": whole(1),
    "speed.size": whole(16, 8192),
    "speed.cam_batch": whole(1),
    "speed.dtypes": names("('float32',)", least=1),
    "speed.rounds": whole(1),
    "speed.slices": whole(1),
    "speed.map_size": whole(16, 8192),
}
"""Of each option, without `config.`; `*` stands for a name that the user gives, or one of several alike."""
FREE = ("data.masks", "data.subtypes")
"""Sections whose names the user gives."""


def check(config: ConfigDict) -> None:
    """Refuse an option that is not known, is missing, or whose value cannot be used.

    Raises:
        UserError: names the option and the form that it has.
    """
    known = dict(_flat(defaults()))
    given = dict(_flat(config))
    for name in given:
        if not name.startswith(tuple(f"{section}." for section in FREE)):
            check_name(name, known, "option")
    for name in known:
        if name not in given and not name.startswith(FREE):
            raise UserError(f"--config.{name}: is missing; give {rule(name).form}")
    for name, value in given.items():
        if not rule(name).fits(value):
            raise UserError(f"--config.{name}={' '.join(str(value).split())}: give {rule(name).form}")
    _check_together(config)


def rule(name: str) -> Rule:
    """The rule of an option, by its name without `config.`."""
    section, _, last = name.rpartition(".")
    return next(RULES[key] for key in (name, f"{section}.*", f"cam.*.{last}") if key in RULES)


def form(name: str) -> str:
    """What an option may be, in words; "" where there is no rule, as of a section."""
    try:
        return rule(name).form
    except StopIteration:
        return ""


def _check_together(config: ConfigDict) -> None:
    """What one option asks of others."""
    data = config.data
    if not data.masks:
        raise UserError("--config.data.masks={}: name what maps are scored against, like {'haemorrhage': (1,)}")
    for name in data.masks:
        if not re.fullmatch(r"\w[\w .-]*", str(name)):
            raise UserError(f"--config.data.masks: '{name}' is no name of letters, digits, '_', '-', '.' and blanks")
    for name in data.subtypes:
        check_name(name, LABELS[1:], "data.subtypes")
    named = [value for values in data.subtypes.values() for value in values]
    twice = {value for value in named if named.count(value) > 1}
    if twice:
        raise UserError(f"--config.data.subtypes: {', '.join(map(str, twice))} stands for two subtypes; name one")
    if not any(data.fractions.values()):
        raise UserError("--config.data.fractions: all are 0; give shares, like 0.6, 0.15 and 0.25")
    if data.fold and not -1 <= data.fold < data.folds:
        raise UserError(f"--config.data.fold={data.fold}: there are {data.folds} folds (--config.data.folds), from 0")
    if data.fold < 0 and config.seeds:
        raise UserError(f"--config.data.fold=-1 and --config.seeds={config.seeds}: name one of them")


def _flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, ConfigDict) and prefix[:-1] not in FREE:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
