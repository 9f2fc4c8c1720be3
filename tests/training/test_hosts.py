"""Two processes as two hosts: one state, one set of checkpoints, one voice."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end

HOST = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from hemojax import devices
from hemojax.training import state
from hemojax.training.checkpoints import Checkpoints

folder, port, host = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
devices.join_hosts(f"localhost:{port}", 2, host)
start = devices.replicate(state.create({"params": {"w": jnp.zeros(3)}, "batch_stats": {}}, optax.adam(1e-3)))

def step(s, x):
    return s.replace(step=s.step + 1, params={"w": s.params["w"] + jax.lax.pmean(x.sum(0), devices.AXIS)})

run = jax.pmap(step, axis_name=devices.AXIS, in_axes=(None, 0), out_axes=None)
reached = run(run(start, np.full((1, 1, 3), host + 1.0)), np.full((1, 1, 3), host + 1.0))
kept = Checkpoints(folder)
kept.save(1, reached, 0.5)
kept.save(2, run(reached, np.ones((1, 1, 3))), 0.7)
epoch, last = kept.last(start)
best_epoch, best = kept.best(start.variables)
kept.close()
found = (epoch, int(last.step), last.params["w"].tolist(), best_epoch, best["params"]["w"].tolist())
print(found)
assert found == (2, 3, [4.0] * 3, 1, [3.0] * 3), found
"""


def test_two_hosts_share_their_state_and_its_checkpoints(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(tmp_path), port, str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    first, second = (host.communicate(timeout=300) for host in hosts)
    assert hosts[0].returncode == 0, first[1][-2000:]
    assert hosts[1].returncode == 0, second[1][-2000:]
    assert first[0].splitlines()[-1].startswith("(2, 3,")
    assert "(2, 3," not in second[0]  # only the first host speaks
