"""Every program compiles for an H100 and a TPU v5e, on a machine that has neither (requirements-accelerators.txt)."""

import importlib.util

import pytest

from hemojax import models
from hemojax.cam import memory
from tests.accelerators import matrix, optimised

PACKAGES = {"h100": "jax_cuda13_plugin", "v5e": "libtpu"}
REST = [case for case in dict.fromkeys(matrix.whole()) if case not in matrix.CONTINUOUS]
CASES = [
    *(pytest.param(case, id=str(case)) for case in matrix.CONTINUOUS),
    *(pytest.param(case, id=str(case), marks=pytest.mark.long) for case in REST),
]


@pytest.mark.accelerators
@pytest.mark.parametrize("case", CASES)
def test_it_compiles(case):
    if importlib.util.find_spec(PACKAGES[case.target]) is None:
        pytest.skip(f"{PACKAGES[case.target]} is not installed (requirements-accelerators.txt)")
    found = matrix.compiled(case)
    assert "error" not in found, found["error"]
    assert found["argument_mib"] + found["output_mib"] > 0
    assert found["kernels"]["fusions"] > 0 or case.program in matrix.METRICS  # a TPU has these inside of loops
    exchanged = sum(kind["mib"] for kind in found["collectives"].values())
    if case.program == "step" and case.devices > 1:  # the gradients, each once
        assert exchanged == pytest.approx(found["argument_mib"] / 3, rel=0.1)  # parameters and Adam's two moments
    else:
        assert exchanged == 0


PROGRAM = """HloModule step

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main (x: bf16[8,4], y: f32[10]) -> f32[10] {
  %x = bf16[8,4]{1,0} parameter(0)
  %y = f32[10]{0} parameter(1)
  %fusion = f32[10]{0} fusion(%x, %y), kind=kLoop, calls=%fused, metadata={op_name="a"}
  %all-reduce-start = (f32[10]{0}, f32[10]{0}) all-reduce-start(%fusion, %y), to_apply=%sum
  ROOT %all-reduce-done = (f32[10]{0}, f32[10]{0}) all-reduce-done(%all-reduce-start)
}
"""


def test_collectives_of_a_program():
    assert optimised.collectives(PROGRAM) == {"all-reduce": {"number": 1, "mib": round(80 / 2**20, 3)}}


def test_bytes_of_a_program():
    found = optimised.kernels(PROGRAM)
    assert found.fusions == 1
    assert (found.read, found.written) == (64 + 40 + 80, 40 + 80)


@pytest.mark.accelerators
@pytest.mark.parametrize(
    ("methods", "stages", "of_layers"), [("gradcam,layercam", "early,last", 2), ("scorecam", "middle", 4)]
)
def test_the_engines_estimate_of_memory_is_the_compilers(methods, stages, of_layers):
    """What an image, or a copy of one, takes of an H100: not more than is reckoned with, and not less than a sixth."""
    if importlib.util.find_spec(PACKAGES["h100"]) is None:
        pytest.skip(f"{PACKAGES['h100']} is not installed (requirements-accelerators.txt)")
    number = 64
    images = 1 if methods == "scorecam" else number  # the engine's chunk is 64 here, see `programs`
    case = matrix.Case("h100", "resnet18", "float32", f"engine:{methods}@{stages}", batch=images)
    found = matrix.compiled(case)
    assert "error" not in found, found["error"]
    outputs = memory.layer_bytes(models.create("resnet18", 1), (case.size, case.size, 3))
    reckoned = number * (of_layers * (max(outputs) if methods == "scorecam" else sum(outputs))) / 2**20
    assert reckoned / 6 < found["temporary_mib"] < reckoned
