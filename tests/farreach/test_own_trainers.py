"""Trainers that own the loop: what their callback records is what the same loop by hand gives."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from farreach.results.storage.result_set import Store  # noqa: E402 - after the skip

BATCH, MANY, LIMIT, RATE = 4, 12, 0.5, 0.01

pytestmark = pytest.mark.slow  # each library takes seconds to load


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_data() -> tuple[Any, Any]:
    random = torch.Generator().manual_seed(1)
    return tuple(torch.rand(BATCH * MANY, size, generator=random) for size in (3, 1))  # type: ignore[return-value]


def make_layers() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


def find_loss(layers: Any, inputs: Any, targets: Any) -> Any:
    return (layers(inputs) - 5 * targets - 5).square().mean()


def train_by_hand(together: int) -> list[list[float]]:
    """Return loss, mean over batches, and norms before and after of each update, computed apart."""
    layers, (inputs, targets) = make_layers(), make_data()
    optimizer = torch.optim.SGD(layers.parameters(), lr=RATE)
    lines, losses = [], []
    for number in range(MANY):
        part = slice(BATCH * number, BATCH * (number + 1))
        loss = find_loss(layers, inputs[part], targets[part])
        (loss / together).backward()
        losses.append(loss.item())
        if (number + 1) % together:
            continue
        before = math.sqrt(sum(float((p.grad**2).sum()) for p in layers.parameters()))
        for parameter in layers.parameters():
            parameter.grad *= min(1.0, LIMIT / before)
        lines.append([float(np.mean(losses)), before, min(before, LIMIT)])
        losses.clear()
        optimizer.step()
        optimizer.zero_grad()
    return lines


def read(path: Path | None) -> tuple[Any, dict[str, Any]]:
    assert path is not None
    return Store(path.parent.parent).curves(path.stem), json.loads(path.read_text())


@pytest.mark.parametrize("together", [1, 3])
def test_lightning_is_recorded_in_its_own_steps(tmp_path: Path, together: int) -> None:
    lightning = pytest.importorskip("lightning")
    from farreach.lightning import Recorder  # noqa: PLC0415 - after the skip

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = make_layers()

        def training_step(self, batch: Any) -> Any:
            return find_loss(self.layers, *batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=RATE)

    recorder = Recorder(tmp_path, "mine")
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        gradient_clip_val=LIMIT,
        accumulate_grad_batches=together,
        callbacks=[recorder],
        **quiet,
    )
    data = torch.utils.data.TensorDataset(*make_data())
    trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=BATCH))
    curves, row = read(recorder.path)
    expected = train_by_hand(together)
    np.testing.assert_allclose(curves[["loss", "norm_before", "norm_after"]], expected, rtol=1e-5)
    assert (row["clip"], row["threshold"], row["learning_rate"], row["warnings"]) == ("norm", LIMIT, RATE, None)


@pytest.mark.parametrize("together", [1, 3])
def test_hugging_faces_trainer_is_recorded_in_its_own_steps(tmp_path: Path, together: int) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from farreach.transformers import Recorder  # noqa: PLC0415 - after the skip

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = make_layers()

        def forward(self, inputs: Any, labels: Any) -> Any:
            return {"loss": find_loss(self.layers, inputs, labels)}

    class InOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(data)

        def create_optimizer(self, *_: Any) -> Any:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE)
            return self.optimizer

    data = [{"inputs": x, "labels": y} for x, y in zip(*make_data(), strict=True)]
    recorder = Recorder(tmp_path / "run", "mine")
    arguments = transformers.TrainingArguments(
        str(tmp_path / "scratch"),
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=LIMIT,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=together,
        num_train_epochs=1,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    InOrder(Model(), arguments, train_dataset=data, callbacks=[recorder]).train()
    curves, row = read(recorder.path)
    expected = train_by_hand(together)
    np.testing.assert_allclose(curves[["loss", "norm_before", "norm_after"]], expected, rtol=1e-5)
    assert (row["clip"], row["threshold"], row["batch"]) == ("norm", LIMIT, BATCH * together)
    assert row["warnings"] is None
