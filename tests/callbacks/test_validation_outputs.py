from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from callbacks.validation_outputs import ValidationOutputs


def batches() -> list[dict[str, Any]]:
    names = [["c", "a"], ["d"], ["b", "e"]]
    return [
        {
            "name": part, "image": torch.zeros(len(part), 3, 2, 2),
            "expression": torch.tensor([ord(name) for name in part]),
            "valence_arousal": torch.tensor([[ord(name), torch.nan] for name in part]),
        }
        for part in names
    ]  # fmt: skip


def run(callback: ValidationOutputs, data: list[dict[str, Any]], world_size: int = 1) -> None:
    trainer: Any = SimpleNamespace(world_size=world_size)
    module: Any = None
    callback.on_validation_start(trainer, module)
    for index, batch in enumerate(data):
        outputs = batch["expression"][:, None].bfloat16() / 2
        callback.on_validation_batch_end(trainer, module, outputs, batch, index)
    callback.on_validation_end(trainer, module)


def check(callback: ValidationOutputs) -> None:
    assert callback.names == list("abcde")
    codes = np.array([ord(name) for name in "abcde"])
    assert callback.outputs.dtype == np.float32
    np.testing.assert_allclose(callback.outputs, codes[:, None] / 2, rtol=1e-2)
    assert set(callback.labels) == {"expression", "valence_arousal"}
    assert callback.labels["expression"].tolist() == codes.tolist()
    assert callback.labels["valence_arousal"][:, 0].tolist() == codes.tolist()
    assert np.isnan(callback.labels["valence_arousal"][:, 1]).all()


def test_outputs_and_labels_stand_in_the_order_of_names():
    callback = ValidationOutputs()
    run(callback, batches())
    check(callback)


def test_a_step_that_returns_nothing_is_not_kept():
    callback, trainer = ValidationOutputs(), SimpleNamespace(world_size=1)
    callback.on_validation_start(trainer, None)
    callback.on_validation_batch_end(trainer, None, None, batches()[0], 0)
    callback.on_validation_end(trainer, None)
    assert callback.names == []


def test_only_the_last_pass_is_kept():
    callback = ValidationOutputs()
    run(callback, batches()[:1])
    run(callback, batches())
    check(callback)


def collect_in_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    callback = ValidationOutputs()
    run(callback, batches()[:2] if rank else batches()[2:], world_size=2)
    check(callback)
    Path(folder, f"{rank}").touch()
    dist.destroy_process_group()


def test_the_parts_of_two_processes_come_together(tmp_path: Path):
    mp.start_processes(collect_in_process, (str(tmp_path),), nprocs=2, start_method="fork")
    assert {path.name for path in tmp_path.iterdir()} >= {"0", "1"}
