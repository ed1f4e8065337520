"""Keras's fit, recorded: the norms and the loss of every batch, in eager, graph and XLA."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from farreach.benchmarks.matrix import registry  # noqa: E402 - after the skip
from farreach.keras import (  # noqa: E402 - after the skip
    ClipWarning,
    Loop,
    NoGradientWarning,
    Recorder,
    measure_flow,
    recorded,
)
from farreach.results.storage.result_set import Store  # noqa: E402
from farreach.results.storage.rows import REQUIRED  # noqa: E402

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras is not set to tensorflow", allow_module_level=True)

BATCH, BATCHES = 8, 6
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(BATCH * BATCHES, 5, 2))
TARGETS = INPUTS[:, :, 0].sum(axis=1, keepdims=True)
CLIPS = [{"global_clipnorm": 5.0}, {"clipnorm": 1.0}, {"clipvalue": 0.1}, {}]


@pytest.fixture
def doubles() -> Iterator[None]:
    """Compute in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def model_of(*, tokens: bool = False) -> Any:
    """Return a small LSTM, the same every time."""
    keras.utils.set_random_seed(1)
    first = [keras.Input((5,), dtype="int32"), keras.layers.Embedding(7, 2)] if tokens else [keras.Input((5, 2))]
    return keras.Sequential([*first, keras.layers.LSTM(3), keras.layers.Dense(1, kernel_regularizer="l2")])


def fit(model: Any, inputs: Any = INPUTS, epochs: int = 2, callbacks: Any = ()) -> Any:
    model.fit(inputs, TARGETS, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks])
    return model


def by_hand(model: Any, optimizer: Any, clip: dict[str, float], epochs: int = 2) -> pd.DataFrame:
    """Return the curves of the loop that fit stands for, written out with tape and NumPy."""
    lines: list[list[float]] = []
    for at in [*range(0, len(INPUTS), BATCH)] * epochs:
        with tf.GradientTape() as tape:
            error = model(INPUTS[at : at + BATCH], training=True) - TARGETS[at : at + BATCH]
            loss = tf.reduce_mean(error**2) + tf.add_n(model.losses)
        grads = [g.numpy() for g in tape.gradient(loss, [v.value for v in model.trainable_variables])]
        flat = np.concatenate([g.ravel() for g in grads])
        norms = [np.linalg.norm(g) for g in grads]
        before, sizes = float(np.linalg.norm(flat)), np.array([g.size for g in grads])
        if "global_clipnorm" in clip:
            scales = [min(1.0, clip["global_clipnorm"] / before)] * len(grads)
            share = float(before > clip["global_clipnorm"])
        elif "clipnorm" in clip:
            scales = [min(1.0, clip["clipnorm"] / norm) for norm in norms]
            share = float(sizes[np.array(norms) > clip["clipnorm"]].sum() / sizes.sum())
        else:
            scales, share = [1.0] * len(grads), float((np.abs(flat) > clip.get("clipvalue", np.inf)).mean())
        limit = clip.get("clipvalue", np.inf)
        after = np.concatenate([np.clip(g * s, -limit, limit).ravel() for g, s in zip(grads, scales, strict=True)])
        lines.append([len(lines) + 1, float(loss), before, float(np.linalg.norm(after)), share])
        optimizer.apply([tf.constant(g) for g in grads], model.trainable_variables)
    return pd.DataFrame(lines, columns=["step", "loss", "norm_before", "norm_after", "clipped"])


def written(recorder: Recorder) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return what a recorder wrote, as the store reads it."""
    assert recorder.path is not None
    return Store(recorder.path.parent.parent).curves(recorder.path.stem), json.loads(recorder.path.read_text())


@pytest.mark.sampled(every=3)
@pytest.mark.filterwarnings("ignore::farreach.ClipWarning")
@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_the_curves_are_those_of_a_loop_written_by_hand(tmp_path: Path, clip: dict[str, float]) -> None:
    model = model_of()
    model.compile(recorded(keras.optimizers.SGD(0.05, **clip)), loss="mse")
    recorder = Recorder(tmp_path, "mine", every=5)
    fit(model, callbacks=[recorder])
    curves, row = written(recorder)
    expected = by_hand(model_of(), keras.optimizers.SGD(0.05, **clip), clip)
    np.testing.assert_allclose(curves.to_numpy(float), expected.to_numpy(float), rtol=1e-12)
    kind = {"global_clipnorm": "norm", "clipnorm": "variable", "clipvalue": "value"}.get(next(iter(clip), ""), "none")
    assert (row["clip"], row["threshold"]) == (kind, next(iter(clip.values()), None))
    assert set(row) >= REQUIRED
    assert (row["cell"], row["optimizer"], row["learning_rate"]) == ("lstm", "sgd", 0.05)
    if kind in {"norm", "value"}:
        assert 0 < curves["clipped"].mean() < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "path"),
    [
        ({"run_eagerly": True}, "tensorflow eager"),
        ({"jit_compile": True}, "tensorflow xla"),
        ({"jit_compile": False, "steps_per_execution": 3}, "tensorflow graph"),
    ],
)
def test_every_way_of_running_records_every_step(tmp_path: Path, how: dict[str, Any], path: str) -> None:
    found = []
    for ways in ({"jit_compile": False}, how):
        model = model_of()
        model.compile(recorded(keras.optimizers.Adam(0.01, global_clipnorm=1.0)), loss="mse", **ways)
        recorder = Recorder(tmp_path, "mine", every=4)
        fit(model, callbacks=[recorder])
        found.append(written(recorder))
    (plain, _), (curves, row) = found
    assert curves["step"].tolist() == [*range(1, 2 * BATCHES + 1)]
    np.testing.assert_allclose(curves.to_numpy(float), plain.to_numpy(float), rtol=1e-3)
    assert row["path"] == path


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [False, True])
def test_recording_does_not_change_the_training(tmp_path: Path, *, tokens: bool) -> None:
    inputs = RANDOM.integers(0, 7, (len(INPUTS), 5)) if tokens else INPUTS
    ends = []
    for record in (False, True):
        model = model_of(tokens=tokens)
        optimizer = keras.optimizers.Adam(0.01, global_clipnorm=0.5)
        model.compile(recorded(optimizer) if record else optimizer, loss="mse", jit_compile=False)
        fit(model, inputs, callbacks=[Recorder(tmp_path, "mine")] if record else [])
        ends.append(np.concatenate([np.ravel(one) for one in model.get_weights()]))
    np.testing.assert_array_equal(*ends)


def test_two_fits_are_two_runs_and_a_saved_model_goes_on(tmp_path: Path) -> None:
    model = model_of()
    model.compile(recorded(keras.optimizers.Adam(0.01)), loss="mse")
    recorder = Recorder(tmp_path, "mine")
    fit(model, epochs=1, callbacks=[recorder])
    first = recorder.path
    fit(model, epochs=1, callbacks=[recorder])
    assert first != recorder.path
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 2 * BATCHES
    fit(loaded, epochs=1, callbacks=[recorder])
    rows = Store(tmp_path).rows()
    assert rows["steps_done"].tolist() == [BATCHES] * 3
    assert [len(Store(tmp_path).curves(key)) for key in rows["key"]] == [BATCHES] * 3


def test_a_diverged_fit_is_recorded_with_its_step(tmp_path: Path) -> None:
    model = model_of()
    model.compile(recorded(keras.optimizers.SGD(0.01)), loss="mse")
    inputs = INPUTS.copy()
    inputs[2 * BATCH] = np.nan
    recorder = Recorder(tmp_path, "mine")
    fit(model, inputs, epochs=1, callbacks=[recorder])
    _, row = written(recorder)
    assert (row["status"], row["diverged_at"], row["steps_done"]) == ("diverged", 3, BATCHES)


# The traps


def test_the_clip_of_each_variable_alone_is_named() -> None:
    with pytest.warns(ClipWarning, match="each variable alone") as found:
        recorded(keras.optimizers.SGD(0.01, clipnorm=1.0))
    line = sys._getframe().f_lineno - 1  # noqa: SLF001
    assert (found[0].filename, found[0].lineno) == (__file__, line)


def test_a_gradient_of_zeros_is_named(tmp_path: Path) -> None:
    model = model_of()
    optimizer = recorded(keras.optimizers.SGD(0.01, global_clipnorm=1.0))
    line = sys._getframe().f_lineno - 1  # noqa: SLF001
    model.compile(optimizer, loss=lambda _, scores: keras.ops.mean(0.0 * scores))
    model.layers[-1].kernel_regularizer = None
    model.layers[-1].kernel.regularizer = None
    with pytest.warns(NoGradientWarning, match="exactly zero") as found:
        fit(model, epochs=1, callbacks=[Recorder(tmp_path, "mine")])
    assert (__file__, line) in [(one.filename, one.lineno) for one in found]


def test_a_clip_changed_after_compiling_is_named(tmp_path: Path) -> None:
    model = model_of()
    inner = keras.optimizers.SGD(0.01)
    model.compile(recorded(inner), loss="mse")
    fit(model, epochs=1)
    inner.global_clipnorm = 0.1
    recorder = Recorder(tmp_path, "mine")
    with pytest.warns(ClipWarning, match="compile the model again"):
        fit(model, epochs=1, callbacks=[recorder])
    assert written(recorder)[1]["clip"] == "none"


class Own(keras.Sequential):  # type: ignore[misc]
    """A model with a training step of its own."""

    scales, limit = False, 0.0

    def train_step(self, data: Any) -> Any:
        inputs, targets = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(inputs, training=True) - targets) ** 2) + tf.add_n(self.losses)
            scaled = self.optimizer.scale_loss(loss) if self.scales else loss
        gradients = tape.gradient(scaled, self.trainable_variables)
        if self.limit:
            gradients = self.optimizer.clip_norm(gradients, self.limit)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize(("scales", "limit"), [(False, 0.0), (True, 0.5)])
def test_a_training_step_of_ones_own_is_recorded_to_its_end(tmp_path: Path, *, scales: bool, limit: float) -> None:
    def make() -> Any:
        keras.utils.set_random_seed(1)
        dense = keras.layers.Dense(1, kernel_regularizer="l2")
        return Own([keras.Input((5, 2)), keras.layers.LSTM(3), dense])

    model = make()
    model.scales, model.limit = scales, limit
    model.compile(recorded(keras.optimizers.SGD(0.05)), loss="mse")
    recorder = Recorder(tmp_path, "mine")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(model, callbacks=[recorder])
    curves, row = written(recorder)
    clip = {"global_clipnorm": limit} if limit else {}
    expected = by_hand(make(), keras.optimizers.SGD(0.05, **clip), clip)
    columns = ["norm_before", "norm_after", "clipped", *(["loss"] if scales else [])]
    np.testing.assert_allclose(curves[columns].to_numpy(float), expected[columns].to_numpy(float), rtol=1e-12)
    assert any("scale_loss" in str(one.message) for one in found) == (not scales)
    assert curves["loss"].isna().all() == (not scales)
    assert (row["clip"], row["steps_done"]) == ("norm" if limit else "none", 2 * BATCHES)


@pytest.mark.usefixtures("doubles")
def test_a_loop_without_fit_is_recorded(tmp_path: Path) -> None:
    model = model_of()
    optimizer = recorded(keras.optimizers.SGD(0.05, global_clipnorm=0.5))
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def train_step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(inputs, training=True) - targets) ** 2) + tf.add_n(model.losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    with Loop(optimizer, tmp_path, "mine", every=5) as recorder:
        for at in range(0, len(INPUTS), BATCH):
            recorder.step(train_step(INPUTS[at : at + BATCH], TARGETS[at : at + BATCH]))
    path = recorder.close()
    assert path is not None
    expected = by_hand(model_of(), keras.optimizers.SGD(0.05, global_clipnorm=0.5), {"global_clipnorm": 0.5}, 1)
    curves = Store(tmp_path).curves(path.stem)
    np.testing.assert_allclose(curves.to_numpy(float), expected.to_numpy(float), rtol=1e-12)


def test_a_fit_that_was_interrupted_is_recorded(tmp_path: Path) -> None:
    class Stop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del logs
            if batch == 4:
                raise KeyboardInterrupt

    model = model_of()
    model.compile(recorded(keras.optimizers.Adam(0.01)), loss="mse")
    recorder = Recorder(tmp_path, "mine")
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[recorder, Stop()])
    (row,) = Store(tmp_path).rows().to_dict("records")
    assert row["steps_done"] == 4
    assert "has not ended, or was killed" in row["warnings"]
    recorder.close()
    (row,) = Store(tmp_path).rows().to_dict("records")
    assert (row["steps_done"], row["warnings"]) == (5, None)


@pytest.mark.slow
@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_the_gradient_through_time_is_that_of_the_layers(tmp_path: Path, kind: str) -> None:
    keras.utils.set_random_seed(1)
    layer = getattr(keras.layers, kind)(3, return_sequences=True)
    model = keras.Sequential([keras.Input((5, 2)), layer, keras.layers.SimpleRNN(3), keras.layers.Dense(1)])
    flow = measure_flow(model, lambda inputs: tf.reduce_sum(model(inputs) ** 2), INPUTS[:4])
    inputs = tf.Variable(INPUTS[:4])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs) ** 2)
    gradient = tape.gradient(loss, inputs).numpy()
    np.testing.assert_allclose(flow.x, np.sqrt((gradient**2).sum((0, 2))), rtol=1e-6)
    assert [len(norms) for norms in flow.h.values()] == [5, 5]
    assert len(flow.c) == (kind == "LSTM")
    states = tf.Variable(layer(INPUTS[:4]))  # of the last step, which acts through the layers above alone
    with tf.GradientTape() as tape:
        above = tf.reduce_sum(model.layers[2](model.layers[1](states)) ** 2)
    last = np.linalg.norm(tape.gradient(above, states).numpy()[:, -1])
    assert flow.h[layer.name][-1] == pytest.approx(last, rel=1e-6)
    model.compile(recorded(keras.optimizers.SGD(0.01)), loss="mse")
    recorder = Recorder(
        tmp_path, "mine", probe=lambda: measure_flow(model, lambda x: tf.reduce_sum(model(x) ** 2), INPUTS[:4])
    )
    fit(model, callbacks=[recorder])
    row = written(recorder)[1]
    assert row["steps_before"] == 4
    assert 0 <= row["reach_end"] <= 1
    assert set(Store(tmp_path).flow(row["key"])["step"]) == {0, BATCHES, 2 * BATCHES}


REPLICAS = """\
import sys, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from farreach.keras import Recorder, recorded
data = np.load(sys.argv[2])
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    optimizer = recorded(keras.optimizers.SGD(0.05, global_clipnorm=float(sys.argv[3])))
    model.compile(optimizer, loss="mse", jit_compile=False)
options = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}
model.fit(data["inputs"], data["targets"], callbacks=[Recorder(sys.argv[1], "mine")], **options)
"""


@pytest.mark.slow  # a process of its own, with two devices: TensorFlow takes some ten seconds to start
@pytest.mark.parametrize("limit", [1e6, 0.01])
def test_replicas_are_recorded_as_the_sum_that_is_used(tmp_path: Path, limit: float) -> None:
    np.savez(tmp_path / "data.npz", inputs=INPUTS.astype("float32"), targets=TARGETS.astype("float32"))
    command = [sys.executable, "-c", REPLICAS, str(tmp_path / "run"), str(tmp_path / "data.npz"), str(limit)]
    done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    (row,) = Store(tmp_path / "run").rows().to_dict("records")
    curves = Store(tmp_path / "run").curves(row["key"])
    assert len(curves) == BATCHES
    assert "each of the 2 replicas" in row["warnings"]
    if limit > 1:  # nothing is clipped: as on one device
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
        model.compile(recorded(keras.optimizers.SGD(0.05)), loss="mse", jit_compile=False)
        recorder = Recorder(tmp_path / "one", "mine")
        fit(model, epochs=1, callbacks=[recorder])
        columns = ["loss", "norm_before", "norm_after"]
        np.testing.assert_allclose(curves[columns], written(recorder)[0][columns], rtol=1e-4)
    else:
        assert (curves["norm_after"] <= 2 * limit * (1 + 1e-5)).all()
        assert (curves["norm_before"] > curves["norm_after"]).all()


def test_an_optimizer_that_is_not_recorded_is_refused(tmp_path: Path) -> None:
    model = model_of()
    model.compile("adam", loss="mse")
    with pytest.raises(ValueError, match=r"compile it with farreach.keras.recorded"):
        fit(model, callbacks=[Recorder(tmp_path, "mine")])


def test_what_would_be_recorded_wrongly_is_refused() -> None:
    with pytest.raises(ValueError, match="gradient_accumulation_steps"):
        recorded(keras.optimizers.SGD(gradient_accumulation_steps=2))
    with pytest.raises(TypeError, match="loss scaling"):
        recorded(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))


def test_the_right_clip_warns_of_nothing(tmp_path: Path) -> None:
    model = model_of()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ClipWarning)
        model.compile(recorded(keras.optimizers.Adam(0.01, global_clipnorm=1.0)), loss="mse")
        fit(model, callbacks=[Recorder(tmp_path, "mine")])
