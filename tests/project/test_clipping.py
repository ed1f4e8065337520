"""The loops of docs/clipping.md, each run as it stands: one process's clipped gradient reaches the optimizer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.studies.update_semantics import find_addresses
from tests.support.documents import read_page

FRAMEWORKS = {"PyTorch": "pytorch", "TensorFlow": "tensorflow", "JAX": "jax"}

INPUTS = """
import json, sys
import numpy as np
rank, addresses = int(sys.argv[1]), sys.argv[2:]
parts = [np.array([[3, 0]], np.float32), np.array([[0, 1]], np.float32)]
learning_rate, microbatches, batch_size = 1.0, 2, 1
"""
"""Two parts of a batch, one sequence each."""

PYTORCH = """
import torch
layer = torch.nn.Linear(2, 1)
for parameter in layer.parameters():
    torch.nn.init.zeros_(parameter)
model, criterion = layer, lambda outputs, _: 2 * outputs.mean()
optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
scaler = torch.amp.GradScaler("cpu")
batches = [(torch.from_numpy(part), None) for part in parts]
"""
DDP = """
torch.distributed.init_process_group("gloo", init_method=f"tcp://{addresses[0]}", rank=rank, world_size=2)
model = torch.nn.parallel.DistributedDataParallel(layer)
batches = batches[rank : rank + 1]
"""
COUNTED = """
criterion = lambda outputs, _: 2 * outputs[:, 0]
rows = [([3, 0], [3, 0], [3, 0]), ([0, 1], [5, 5], [5, 5])][rank]
batches = [(torch.tensor(rows, dtype=torch.float32), None, torch.tensor([[1.0, 1, 1], [1.0, 0, 0]][rank]))]
"""
TENSORFLOW = """
import keras
import tensorflow as tf

def make_model():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])

model, criterion = make_model(), lambda _, outputs: 2 * outputs[:, 0]
inputs, targets = np.concatenate(parts), np.zeros((2, 1), np.float32)
"""
DEVICES = """
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
"""
STRATEGY = """
strategy, criterion = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), lambda _, outputs: 2 * tf.reduce_mean(outputs)
with strategy.scope():
    model, optimizer = make_model(), keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
spread = strategy.experimental_distribute_values_from_function
batches = [
    (spread(lambda at: tf.constant(parts[at.replica_id_in_sync_group])), spread(lambda _: tf.zeros((1, 1))))
]
"""
WHOLE_BATCH = "batch_size = 2"
JAX = """
import jax, optax
import jax.numpy as jnp
from flax.training.dynamic_scale import DynamicScale
from jax.sharding import Mesh, PartitionSpec
params = {"bias": jnp.zeros(1), "kernel": jnp.zeros((2, 1))}
mesh = Mesh(np.array(jax.devices()), ("replicas",))

def model(params, inputs):
    return inputs @ params["kernel"] + params["bias"]

def criterion(outputs, targets):
    return 2 * jnp.mean(outputs)

def compute_loss(params, inputs, targets):
    return criterion(model(params, inputs), targets)

whole_batch = (jnp.concatenate(parts), jnp.zeros((2, 1)))
batches = [(jnp.asarray(part), jnp.zeros((1, 1))) for part in parts]
"""
ONE_UPDATE = "batches = [whole_batch]"

ENDS = {
    "pytorch": "reached = [-p.detach().numpy().ravel() for p in layer.parameters()]",
    "tensorflow": "reached = [-np.ravel(weight) for weight in model.get_weights()]",
    "jax": "reached = [-np.asarray(params[name]).ravel() for name in ('kernel', 'bias')]",
}
ANSWER = "\nprint('\\n' + json.dumps(np.concatenate(reached).tolist()), flush=True)\nimport os; os._exit(0)\n"

BEFORE = {
    "PyTorch: replicas": PYTORCH + DDP,
    "PyTorch: accumulation": PYTORCH,
    "PyTorch: a scaled loss": PYTORCH + "batches = [(torch.cat([torch.from_numpy(part) for part in parts]), None)]",
    "PyTorch: counts": PYTORCH + DDP + COUNTED,
    "TensorFlow: replicas": DEVICES + TENSORFLOW + STRATEGY,
    "TensorFlow: accumulation": TENSORFLOW,
    "TensorFlow: a scaled loss": TENSORFLOW + WHOLE_BATCH,
    "JAX: replicas": JAX + ONE_UPDATE,
    "JAX: accumulation": JAX,
    "JAX: a scaled loss": JAX + ONE_UPDATE,
}
"""What a reader has before each loop, by its heading."""

PROCESSES = {"PyTorch: replicas": 2, "PyTorch: counts": 2}

LOOPS = {
    part.partition("\n")[0]: "\n".join(re.findall(r"^```python\n(.*?)^```", part, re.DOTALL | re.MULTILINE))
    for part in re.split(
        r"^### ", re.sub(r"^## .*$", "", read_page("clipping"), flags=re.MULTILINE), flags=re.MULTILINE
    )[1:]
}
"""The loops of the page by their headings."""


def run_loop(heading: str, tmp_path: Path, loop: str) -> list[list[float]]:
    """Run a loop in as many processes as it takes; return the gradient that reached each one's optimizer."""
    framework = FRAMEWORKS[heading.partition(":")[0]]
    script = tmp_path / "loop.py"
    script.write_text("\n".join([INPUTS, BEFORE[heading], loop, ENDS[framework], ANSWER]), "utf-8")
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "CUDA_VISIBLE_DEVICES": ""}
    count = PROCESSES.get(heading, 1)
    command = [sys.executable, str(script)]
    addresses = find_addresses(count)
    processes = [
        subprocess.Popen(  # noqa: S603
            [*command, str(rank), *addresses], env=os.environ | flags, stdout=subprocess.PIPE, text=True
        )
        for rank in range(count)
    ]
    try:
        written = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes)
    return [json.loads(text.strip().rpartition("\n")[2]) for text in written]


def find_right(heading: str) -> np.ndarray:
    whole = np.array([4.5, 0.5, 2]) if heading.endswith("counts") else np.array([3.0, 1, 2])
    return whole / np.sqrt((whole**2).sum())


def test_the_page_has_these_loops() -> None:
    assert {*LOOPS} == {*BEFORE}


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("heading", BEFORE)
def test_a_loop_of_the_page_clips_the_gradient_of_the_whole_update(heading: str, tmp_path: Path) -> None:
    if FRAMEWORKS[heading.partition(":")[0]] not in registry.list_installed():
        pytest.skip("its framework is not installed")
    for reached in run_loop(heading, tmp_path, LOOPS[heading]):
        np.testing.assert_allclose(reached, find_right(heading), rtol=2e-6)


@pytest.mark.slow
def test_a_loop_that_forgets_to_unscale_is_found(tmp_path: Path) -> None:
    heading = "PyTorch: a scaled loss"
    wrong = LOOPS[heading].replace("    scaler.unscale_(optimizer)\n", "")
    assert wrong != LOOPS[heading]
    (reached,) = run_loop(heading, tmp_path, wrong)
    np.testing.assert_allclose(reached, find_right(heading) / 65_536, rtol=2e-6)


def test_the_figures_of_the_page_are_the_published_ones() -> None:
    published = (registry.PUBLISHED / "semantics.md").read_text("utf-8").replace("\\", "")
    section = published.partition("## Updates in parts")[2]
    page = textwrap.dedent(read_page("clipping"))
    for found in re.findall(r"\([0-9.]+, [0-9.]+, [0-9.]+\)", page):
        assert found in section, found
