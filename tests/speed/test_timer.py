import os

import pytest

from hemojax import huge_pages
from hemojax.errors import UserError
from hemojax.speed.timer import Contender, contest


def test_contenders_take_turns_round_by_round(tmp_path):
    log = tmp_path / "log"
    timings = contest(
        [Contender(name, "speed.parts:logged", {"name": name, "log": str(log)}) for name in "ab"], rounds=3
    )
    # each is prepared and warmed up by itself; then every round runs all parts of one, then of the other, twice each
    assert log.read_text().split() == ["a0", "a2", "b0", "b2"] + ["a0", "a0", "a2", "a2", "b0", "b0", "b2", "b2"] * 3
    for timing in timings.values():
        assert timing.seconds.shape == (3, 2)
        assert (timing.seconds[:, 1] >= 0.02).all()
        assert (timing.seconds[:, 0] < timing.seconds[:, 1]).all()
        assert timing.prepare_seconds > 0.02
        assert timing.peak_mib > 1


def test_what_takes_minutes_is_not_run_twice_a_round(tmp_path):
    log = tmp_path / "log"
    contest([Contender("a", "speed.parts:logged", {"name": "a", "log": str(log)})], rounds=2, warm=False)
    assert log.read_text().split() == ["a0", "a2"] * 3


def test_a_contender_that_fails_is_named(capfd):
    with pytest.raises(UserError, match="second failed"):
        contest([Contender("second", "speed.parts:broken", {})], rounds=1)
    assert "cannot be prepared" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "seen"),
    [(huge_pages.TUNABLE, [huge_pages.TUNABLE, "none"]), ("glibc.pthread.rseq=0", 2 * ["glibc.pthread.rseq=0"])],
)
def test_a_contender_can_begin_without_the_huge_pages_that_were_asked_for(tmp_path, monkeypatch, given, seen):
    monkeypatch.setenv("GLIBC_TUNABLES", given)
    log = {"log": str(tmp_path / "log")}
    contest([Contender(str(kept), "speed.parts:environment", log, kept) for kept in (True, False)], rounds=0)
    assert (tmp_path / "log").read_text().split() == seen
    assert os.environ["GLIBC_TUNABLES"] == given


def test_processes_share_a_gpu_and_the_peers_leave_it_to_torch(tmp_path):
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "JAX_PLATFORMS_OF_TEST")
    before = {name: os.environ.get(name) for name in names}
    options = {"log": str(tmp_path / "log"), "names": names}
    contest(
        [
            Contender("ours", "speed.parts:environment", options),
            Contender("theirs", "speed.parts:environment", options, environment={names[1]: "cpu"}),
        ],
        rounds=0,
    )
    assert (tmp_path / "log").read_text().split() == ["false", "none", "false", "cpu"]
    assert {name: os.environ.get(name) for name in names} == before


def test_what_a_contender_says_of_itself_is_kept():
    timings = contest(
        [Contender("a", "speed.parts:described", {}), Contender("b", "speed.parts:nothing", {})], rounds=1
    )
    assert (timings["a"].settings, timings["b"].settings) == ("CPU, 8 at once", "")
