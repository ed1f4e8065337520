"""Runs that were recorded in JAX, Lightning and Keras end in one report, with reach, diagnosis and advice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import farreach
from farreach.results.figures import style
from farreach.results.storage.result_set import Store
from tests.support.commands import call_command

jax = pytest.importorskip("jax")
keras = pytest.importorskip("keras")
lightning = pytest.importorskip("lightning")
optax = pytest.importorskip("optax")
torch = pytest.importorskip("torch")

from farreach import jax as own_jax  # noqa: E402 - skipped without them
from farreach import keras as own_keras  # noqa: E402
from farreach import lightning as own_lightning  # noqa: E402
from farreach import pytorch as own_pytorch  # noqa: E402

T, HIDDEN, BATCH = 12, 8, 16


def draw_data(steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [steps x BATCH, T, 2] and sums [steps x BATCH, 1] of two marked numbers, in float32."""
    random = np.random.default_rng(0)
    numbers, marks = random.random((steps * BATCH, T)), np.zeros((steps * BATCH, T))
    np.put_along_axis(marks, random.random(marks.shape).argsort(axis=1)[:, :2], 1.0, axis=1)
    return np.stack([numbers, marks], axis=2).astype("float32"), (numbers * marks).sum(
        1, keepdims=True, dtype="float32"
    )


def record_jax(folder: Path) -> None:
    def find_loss(params: Any, inputs: Any, targets: Any) -> Any:
        def read(state: Any, step: Any) -> tuple[Any, None]:
            return jax.numpy.tanh(step @ params["read"] + state @ params["recur"]), None

        state, _ = jax.lax.scan(read, jax.numpy.zeros((len(inputs), HIDDEN)), inputs.swapaxes(0, 1))
        return jax.numpy.square(state @ params["write"] - targets).mean()

    random = np.random.default_rng(1)
    shapes = {"read": (2, HIDDEN), "recur": (HIDDEN, HIDDEN), "write": (HIDDEN, 1)}
    params = {
        name: jax.numpy.asarray(0.2 * random.standard_normal(shape), jax.numpy.float32)
        for name, shape in shapes.items()
    }
    optimizer = optax.chain(own_jax.clip_norm(0.5), optax.adam(3e-3))
    state = optimizer.init(params)
    inputs, targets = map(jax.numpy.asarray, draw_data())

    def look(params: Any) -> Any:
        return own_jax.measure_flow(lambda one: find_loss(params, one, targets), inputs)

    step = jax.jit(jax.value_and_grad(find_loss))
    about = {"cell": "rnn", "optimizer": "adam", "learning_rate": 3e-3}
    with own_jax.Recorder(folder, "marked sums", **about) as recorder:
        for number in range(40):
            if number in {0, 20}:
                recorder.note_flow(look(params))
            loss, gradients = step(params, inputs, targets)
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            recorder.step(loss, state)
        recorder.note_flow(look(params))


def record_lightning(folder: Path) -> None:
    recorder = own_lightning.Recorder(folder, "marked sums", seed=0)
    data = torch.utils.data.TensorDataset(*map(torch.from_numpy, draw_data(20)))

    class Sum(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = torch.nn.LSTM(2, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, 1)

        def find_loss(self, inputs: Any, targets: Any) -> Any:
            return torch.nn.functional.mse_loss(self.linear(self.lstm(inputs)[0][:, -1]), targets)

        def training_step(self, batch: Any) -> Any:
            return self.find_loss(*batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=3e-3)

        def look(self) -> None:
            inputs, targets = data[:BATCH]
            assert recorder.recorder is not None
            recorder.recorder.note_flow(
                own_pytorch.measure_flow(self, lambda one: self.find_loss(one, targets), inputs)
            )

        on_train_start = on_train_epoch_end = look

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False}
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", gradient_clip_val=0.5, callbacks=[recorder], **quiet)
    trainer.fit(Sum(), torch.utils.data.DataLoader(data, batch_size=BATCH))


def record_keras(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs, targets = draw_data(20)
    model = keras.Sequential([keras.Input((T, 2)), keras.layers.GRU(HIDDEN), keras.layers.Dense(1)])
    model.compile(own_keras.recorded(keras.optimizers.Adam(3e-3, global_clipnorm=0.5)), loss="mse")

    def probe() -> Any:
        return own_keras.measure_flow(
            model, lambda one: keras.ops.mean((model(one) - targets[:BATCH]) ** 2), inputs[:BATCH]
        )

    callbacks = [own_keras.Recorder(folder, "marked sums", seed=0, probe=probe)]
    model.fit(inputs, targets, batch_size=BATCH, epochs=2, verbose=0, callbacks=callbacks)


def find_reach(norms: np.ndarray) -> float:
    """Return the share of the steps before the last over which the norm stays at 1 % of the last one's or more."""
    back = norms[:-1][::-1] >= 0.01 * norms[-1]
    return float(back.argmin() if not back.all() else len(back)) / len(back)


@pytest.mark.slow
def test_jax_lightning_and_keras_end_in_one_report_with_reach_diagnosis_and_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "DPI", 50)
    for record in (record_jax, record_lightning, record_keras):
        record(tmp_path)
    store = Store(tmp_path)
    rows = store.rows().set_index("framework")
    assert set(rows.index) == {"jax", "pytorch", "keras"}
    assert rows["clip"].tolist() == ["norm"] * 3
    assert rows["threshold"].tolist() == [0.5] * 3
    for _, row in rows.iterrows():
        curves, flow = store.curves(row["key"]), store.flow(row["key"])
        assert len(curves) == row["steps_done"] == 40
        assert (curves["norm_after"] <= 0.5 * (1 + 1e-5)).all()
        assert row["warnings"] is None
        first = flow[flow["layer"] == 0]
        for at, step in (("start", first["step"].min()), ("end", first["step"].max())):
            norms = first[first["step"] == step].sort_values("time")["h"].to_numpy()
            assert len(norms) == T
            assert row[f"reach_{at}"] == pytest.approx(find_reach(norms), abs=1e-12)
    status, out, errors = call_command("report", str(tmp_path))
    assert status == 0, errors
    said = " ".join(out.split())
    assert "not looked at" not in said
    text = (tmp_path / "report.md").read_text()
    reach = text.partition("### Reach: how far back the gradient keeps 1 % of its norm")[2].partition("### ")[0]
    diagnoses = text.partition("### Diagnoses")[2].partition("### ")[0]
    for framework, cell in rows["cell"].items():
        assert str(framework) in reach
        assert f"| {cell} | 1 |" in diagnoses
    found = farreach.load(tmp_path).diagnoses
    assert len(found) == 3
    assert "not looked at" not in set(found["diagnosis"])
    assert (tmp_path / "report.html").exists()
    status, out, errors = call_command("advise", str(tmp_path))
    assert status == 0, errors
    for row in rows.itertuples():
        mean = store.curves(str(row.key))["norm_before"].mean()
        assert re.search(rf"{row.Index}.*?average norm before the clip is {mean:.3g}", " ".join(out.split())), out
