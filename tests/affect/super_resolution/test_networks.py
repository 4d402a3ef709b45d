import pytest
import torch

from affect.super_resolution.networks import RRDBNet
from affect.super_resolution.realesrgan_engine import reference_network


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_rrdbnet_computes_what_the_published_class_does(small_rrdb, scale):
    network = small_rrdb(scale)
    image = torch.rand(2, 3, 16, 12)
    output = network(image)
    assert output.shape == (2, 3, 16 * scale, 12 * scale)
    torch.testing.assert_close(output, reference_network(network)(image), rtol=1e-5, atol=1e-5)


def test_compact_network_computes_what_the_published_class_does(small_srvgg):
    image = torch.rand(2, 3, 10, 7)
    output = small_srvgg(image)
    assert output.shape == (2, 3, 30, 21)
    torch.testing.assert_close(output, reference_network(small_srvgg)(image), rtol=1e-5, atol=1e-5)


def test_real_weights_compute_the_same_in_the_published_classes(x4plus, anime):
    image = torch.rand(1, 3, 12, 12)
    for network in (x4plus, anime):
        torch.testing.assert_close(network(image), reference_network(network)(image), rtol=1e-4, atol=1e-4)


def test_a_lower_precision_of_the_body_leaves_the_residuals_in_float32(small_rrdb):
    network = small_rrdb(4)
    image = torch.rand(1, 3, 8, 8)
    exact = network(image)
    network.body.bfloat16()
    output = network(image)
    assert output.dtype == torch.float32
    assert 0 < (output - exact).abs().max() < 0.05


def test_scales_beyond_the_architecture_are_refused():
    with pytest.raises(ValueError, match="1, 2 or 4, not 3"):
        RRDBNet(3)
