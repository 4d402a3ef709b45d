import pytest
import torch

from affect.mtl_score import multi_task_score
from affect.tasks import TaskLoss
from lightning_modules.end_to_end import EndToEndModule, split_tasks


@pytest.fixture
def module(tiny_architecture: str) -> EndToEndModule:
    torch.manual_seed(0)
    return EndToEndModule(tiny_architecture, [1.0] * 8, [[1.0] * 12] * 2)


def make_batch() -> dict:
    batch = {
        "image": torch.randn(6, 3, 32, 32),
        "expression": torch.tensor([0, -1, 3, 7, -1, 2]),
        "valence_arousal": torch.rand(6, 2) * 2 - 1,
        "action_units": (torch.rand(6, 12) < 0.5).float(),
        "name": [f"v/{row}.jpg" for row in range(6)],
    }
    batch["valence_arousal"][:2] = torch.nan
    batch["action_units"][3] = torch.nan
    return batch


def test_outputs_are_split_by_task() -> None:
    parts = split_tasks(torch.arange(44.0).view(2, 22) / 10)
    assert {task: tuple(values.shape) for task, values in parts.items()} == {
        "expression": (2, 8),
        "valence_arousal": (2, 2),
        "action_units": (2, 12),
    }
    assert parts["valence_arousal"].abs().max() <= 1
    assert parts["action_units"][0, 0] == 1


def test_each_task_learns_from_the_frames_that_have_its_label(module: EndToEndModule) -> None:
    batch = make_batch()
    outputs = torch.randn(6, 22, requires_grad=True)
    losses = module.compute_losses(outputs, batch)
    expected = TaskLoss({"expression": torch.ones(8)}).total(split_tasks(outputs), batch)
    torch.testing.assert_close(losses["loss"], sum(expected.values()))
    losses["loss"].backward()
    used = outputs.grad != 0
    assert used[:, :8].any(1).tolist() == [True, False, True, True, False, True]
    assert used[:, 8:10].any(1).tolist() == [False, False, True, True, True, True]
    assert used[:, 10:].any(1).tolist() == [True, True, True, False, True, True]


def test_validation_returns_predictions_and_scores_them(module: EndToEndModule) -> None:
    batch = make_batch()
    module.eval()
    with torch.no_grad():
        outputs = module.validation_step(batch, 0)
    preds = dict(zip(("expression", "valence_arousal", "action_units"), outputs.split((8, 2, 12), 1), strict=True))
    torch.testing.assert_close(preds["expression"].sum(1), torch.ones(6))
    found = {name: float(value) for name, value in module.score.compute().items()}
    assert found == pytest.approx(multi_task_score(preds, batch))
