import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from affect.sam import SAM, frozen_batch_statistics

RHO = 0.05
OPTIMIZERS: dict[str, Callable] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(12, 6, generator=generator), torch.randint(0, 3, (12,), generator=generator)) for _ in range(count)
    ]


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def sam_step(model: nn.Module, optimizer: SAM, batch: tuple[Tensor, Tensor]) -> None:
    loss_of(model, batch).backward()
    optimizer.ascend()
    optimizer.zero_grad()
    loss_of(model, batch).backward()
    optimizer.step()
    optimizer.zero_grad()


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> None:
    """The two passes of the paper's algorithm 1, written out; float64, in which orders of summation agree."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss_of(model, batch), parameters)
    norm = sum((gradient**2).sum() for gradient in gradients) ** 0.5
    kept = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter += RHO * gradient / norm
    gradients = torch.autograd.grad(loss_of(model, batch), parameters)
    with torch.no_grad():
        for parameter, gradient, old in zip(parameters, gradients, kept, strict=True):
            parameter.copy_(old)
            parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_a_plain_two_pass_loop(name: str):
    ours, theirs = network().double(), network().double()
    sam, plain = SAM(OPTIMIZERS[name](ours.parameters()), RHO), OPTIMIZERS[name](theirs.parameters())
    start = weights(ours)
    for batch in [(image.double(), target) for image, target in batches(10)]:
        sam_step(ours, sam, batch)
        plain_step(theirs, plain, batch)
    for found, expected, first in zip(weights(ours), weights(theirs), start, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
        assert (found - first).abs().max() > 1e-3


def test_a_step_without_ascent_is_the_inner_optimisers():
    ours, theirs = network(), network()
    sam, plain = SAM(OPTIMIZERS["adam"](ours.parameters())), OPTIMIZERS["adam"](theirs.parameters())
    for batch in batches(3):
        for model, optimizer in ((ours, sam), (theirs, plain)):
            loss_of(model, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(weights(ours), weights(theirs), strict=True))


def test_ascent_moves_by_rho_along_the_gradient_and_step_returns():
    model = network()
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.0), 0.3)
    start = weights(model)
    loss_of(model, batches(1)[0]).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    sam.ascend()
    offsets = torch.cat([(new - old).flatten() for new, old in zip(weights(model), start, strict=True)])
    assert offsets.norm().item() == pytest.approx(0.3, rel=1e-5)
    along = torch.cat([gradient.flatten() for gradient in gradients])
    assert torch.cosine_similarity(offsets, along, dim=0).item() == pytest.approx(1, abs=1e-5)
    sam.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(model), start, strict=True))


def test_parameters_without_a_gradient_take_no_part():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()), 0.3)
    start = weights(model)
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    loss_of(model, batches(1)[0]).backward()
    sam.ascend()
    raised = weights(model)
    assert all(torch.equal(a, b) for a, b in zip(raised[:2], start[:2], strict=True))
    assert torch.cat([(a - b).flatten() for a, b in zip(raised, start, strict=True)]).norm() == pytest.approx(0.3)
    sam.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(model)[:2], start[:2], strict=True))


def test_a_zero_gradient_does_no_harm():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()))
    (loss_of(model, batches(1)[0]) * 0).backward()
    sam.ascend()
    sam.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_optimiser_continues_bit_for_bit(name: str):
    data = batches(6)
    through = network()
    sam = SAM(OPTIMIZERS[name](through.parameters()), RHO)
    for batch in data:
        sam_step(through, sam, batch)

    first = network()
    sam = SAM(OPTIMIZERS[name](first.parameters()), RHO)
    for batch in data[:3]:
        sam_step(first, sam, batch)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": sam.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = network()
    sam = SAM(OPTIMIZERS[name](second.parameters()), RHO)
    second.load_state_dict(saved["model"])
    sam.load_state_dict(saved["optimizer"])
    for batch in data[3:]:
        sam_step(second, sam, batch)
    assert all(torch.equal(a, b) for a, b in zip(weights(through), weights(second), strict=True))


def test_a_rate_set_on_the_groups_reaches_the_inner_optimiser_also_after_a_resume():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()))
    sam.load_state_dict(copy.deepcopy(sam.state_dict()))
    for group in sam.param_groups:
        group["lr"] = 0.0
    start = weights(model)
    sam_step(model, sam, batches(1)[0])
    assert all(torch.equal(a, b) for a, b in zip(weights(model), start, strict=True))


def test_clearing_the_state_clears_the_inner_optimisers_also_after_a_resume():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()))
    sam_step(model, sam, batches(1)[0])
    sam.load_state_dict(copy.deepcopy(sam.state_dict()))
    assert len(sam.base.state) == 4
    sam.state.clear()
    assert not sam.base.state


def test_the_radius_is_that_of_the_paper_unless_given():
    assert SAM(OPTIMIZERS["adam"](network().parameters())).rho == 0.05


def test_gradients_are_cleared_as_by_any_optimiser_of_torch():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()))
    loss_of(model, batches(1)[0]).backward()
    sam.zero_grad(set_to_none=False)
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters())
    sam.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_misuse_is_named():
    model = network()
    sam = SAM(OPTIMIZERS["adam"](model.parameters()))
    with pytest.raises(RuntimeError, match="backward"):
        sam.ascend()
    loss_of(model, batches(1)[0]).backward()
    sam.ascend()
    with pytest.raises(RuntimeError, match="twice"):
        sam.ascend()
    with pytest.raises(RuntimeError, match="saved"):
        sam.state_dict()
    sam.step()
    sam.state_dict()
    with pytest.raises(ValueError, match="rho"):
        SAM(OPTIMIZERS["adam"](model.parameters()), 0.0)


def test_the_second_pass_under_autocast_sees_the_raised_weights():
    model, batch = network(), batches(1)[0]
    sam = SAM(torch.optim.SGD(model.parameters(), lr=0.0), 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss_of(model, batch).backward()
        sam.ascend()
        within = model(batch[0])
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(batch[0])
    assert torch.equal(within, expected)
    sam.step()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(within, model(batch[0]))


def normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))


def test_batch_statistics_move_once_per_step():
    image = torch.randn(8, 3, 6, 6)
    model = normalised().train()
    model(image)
    once = copy.deepcopy(model[1].state_dict())
    with frozen_batch_statistics(model):
        frozen = model(image)
    assert all(torch.equal(value, once[key]) for key, value in model[1].state_dict().items())
    assert torch.equal(frozen, model(image))  # still normalised by the batch
    assert model[1].num_batches_tracked == 2


def test_batch_statistics_move_again_even_after_an_error():
    model = normalised().train()
    with pytest.raises(RuntimeError), frozen_batch_statistics(model):
        raise RuntimeError
    model(torch.randn(8, 3, 6, 6))
    assert model[1].num_batches_tracked == 1


def test_evaluation_inside_still_uses_the_running_statistics():
    model = normalised()
    image = torch.randn(8, 3, 6, 6)
    model(image)
    model.eval()
    expected = model(image)
    with frozen_batch_statistics(model):
        assert torch.equal(model(image), expected)
