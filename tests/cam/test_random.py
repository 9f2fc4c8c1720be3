"""RandomCAM and its keys."""

import jax
import jax.numpy as jnp
import numpy as np

from hemojax.cam import METHODS, Inputs, identity
from hemojax.cam.random import sample_keys


def test_weights_are_uniform_between_minus_one_and_one():
    # With one pixel that is 1 in channel k alone, the map is the weights.
    channels = 4000
    keys = sample_keys(jnp.int32(5), 0, 2)
    one_hot = jnp.eye(channels)[None]
    first, second = (np.asarray(METHODS["randomcam"].fn(Inputs(one_hot, key=key)))[0] for key in keys)
    assert -1 <= first.min() < -0.99
    assert 0.99 < first.max() < 1
    assert abs(first.mean()) < 0.05
    assert abs(first.var() - 1 / 3) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08


def test_keys_differ_by_sample_stage_and_seed_alone():
    data = {
        (sample, stage): jax.random.key_data(sample_keys(jnp.int32(sample), stage, 3))
        for sample in (0, 1, 2**31 - 1)
        for stage in (0, 1)
    }
    everything = np.concatenate([np.asarray(one) for one in data.values()])
    assert len(np.unique(everything, axis=0)) == 3 * 2 * 3
    np.testing.assert_array_equal(jax.random.key_data(sample_keys(jnp.int32(1), 1, 10))[:3], data[1, 1])


def test_identity():
    assert identity("case_01", 7) == identity("case_01", 7)
    # The published check value of CRC-32, of the string "123456789", is 0xCBF43926: the same algorithm here.
    names = [identity(case, index) for case in ("a", "b", "a/1") for index in range(50)]
    assert len(set(names)) == len(names)
    assert all(0 <= name < 2**31 for name in names)
