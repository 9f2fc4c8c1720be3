import pytest

from hemojax.benchmark.contest import Contender, contest
from hemojax.errors import UserError


def test_contenders_take_turns_round_by_round(tmp_path):
    log = tmp_path / "log"
    timings = contest(
        [Contender(name, "benchmark.parts:logged", {"name": name, "log": str(log)}) for name in "ab"], rounds=3
    )
    # each is prepared and warmed up by itself; then every round runs all parts of one, then of the other
    assert log.read_text().split() == ["a0", "a2", "b0", "b2"] + ["a0", "a2", "b0", "b2"] * 3
    for timing in timings.values():
        assert timing.seconds.shape == (3, 2)
        assert (timing.seconds[:, 1] >= 0.02).all()
        assert (timing.seconds[:, 0] < timing.seconds[:, 1]).all()
        assert timing.prepare_seconds > 0.02
        assert timing.peak_mib > 1


def test_a_contender_that_fails_is_named(capfd):
    with pytest.raises(UserError, match="second failed"):
        contest([Contender("second", "benchmark.parts:broken", {})], rounds=1)
    assert "cannot be prepared" in capfd.readouterr().err
