"""Backbones: an encoder of timm, or MobileFaceNet, with one linear layer (Savchenko 2022, arXiv 2207.09508)."""

import difflib
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn

from affect.errors import InvalidOptionError, MissingFileError
from affect.networks import mobilefacenet

DEFAULT_ARCHITECTURE: Final = "tf_efficientnet_b0.ns_jft_in1k"
MOBILEFACENET: Final = "mobilefacenet"


class Backbone(nn.Module):
    """Map images to pooled features, and those to task outputs by one linear layer.

    Args:
        architecture: `mobilefacenet`, or any timm model name; a deprecated one stands for what timm has renamed it to.
        num_outputs: Width of the linear layer; 0 leaves the features as they are.
        hub_weights: Start the encoder from timm's published weights (needs the network once).

    Attributes:
        architecture: The current name of the architecture.
        encoder: The network without classifier, (B, 3, H, W) to (B, num_features).
        classifier: Linear(num_features, num_outputs), or Identity.
        num_features: Width of the pooled features (1280 for EfficientNet-B0).

    Raises:
        InvalidOptionError: If timm has no such architecture, or no such weights of it.
        MissingFileError: If timm's published weights cannot be fetched.
    """

    num_features: int

    def __init__(self, architecture: str, num_outputs: int, hub_weights: bool = False) -> None:
        super().__init__()
        self.architecture = resolve_architecture(architecture)
        self.encoder = create_encoder(self.architecture, hub_weights)
        self.num_features = num_features(self.encoder)
        self.num_outputs = num_outputs
        self.classifier: nn.Module = nn.Linear(self.num_features, num_outputs) if num_outputs else nn.Identity()

    def forward_features(self, image: Tensor) -> Tensor:
        """Compute pooled features, shape (B, num_features), of normalised images, shape (B, 3, H, W)."""
        return self.encoder(image)

    def forward(self, image: Tensor) -> Tensor:
        """Compute task outputs, shape (B, num_outputs), of normalised images, shape (B, 3, H, W)."""
        return self.classifier(self.encoder(image))


def create_encoder(architecture: str, hub_weights: bool = False) -> nn.Module:
    """Build the network of an architecture without its classifier; arguments and errors are those of `Backbone`."""
    if architecture == MOBILEFACENET:
        if hub_weights:
            raise InvalidOptionError("nobody publishes weights of mobilefacenet with timm; choose another or a file")
        return mobilefacenet.MobileFaceNet()
    if hub_weights and not timm.models.is_model_pretrained(architecture):
        raise InvalidOptionError(f"timm publishes no weights of {architecture}; choose another or a file")
    try:
        return timm.create_model(architecture, pretrained=hub_weights, num_classes=0)
    except OSError as error:
        raise MissingFileError(
            f"the weights of {architecture} cannot be fetched ({error}); connect to the network once, or give a "
            "weights file"
        ) from error


def num_features(encoder: Any) -> int:
    """Return the width of the pooled features that an encoder computes."""
    # Some networks (MobileNetV3) widen the pooled features by one more layer before the classifier.
    return int(getattr(encoder, "head_hidden_size", None) or encoder.num_features)


def native_image_size(architecture: str) -> int:
    """Look up the side in pixels of the images that an architecture was published for; 224 if it is not known.

    Raises:
        InvalidOptionError: As `input_statistics`.
    """
    if architecture == MOBILEFACENET:
        return mobilefacenet.IMAGE_SIZE
    config = timm.get_pretrained_cfg(resolve_architecture(architecture))
    return int(config.input_size[-1]) if config is not None else 224


def input_statistics(architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Look up the channel mean and standard deviation, in [0, 1], that an architecture was published with.

    Raises:
        InvalidOptionError: If timm has no such architecture, or no such weights of it.
    """
    if architecture == MOBILEFACENET:
        return (0.5,) * 3, (0.5,) * 3
    config = timm.get_pretrained_cfg(resolve_architecture(architecture))
    if config is None:  # an architecture without published weights
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
    return tuple(config.mean), tuple(config.std)


def channels_last(backbone: Backbone) -> Backbone:
    """Convert convolution weights to channels-last, 1.4x faster on CPU and the tensor cores' own order."""
    return backbone.to(memory_format=torch.channels_last)


def resolve_architecture(architecture: str) -> str:
    """Return the current name of an architecture: timm maps each deprecated name to another, with its weights' tag.

    Args:
        architecture: `mobilefacenet`, or any timm name, with or without a tag of published weights.

    Returns:
        The name itself unless it is deprecated.

    Raises:
        InvalidOptionError: If timm has no such architecture, has removed it, or has no such weights of it.
    """
    if architecture == MOBILEFACENET:
        return architecture
    name, _, tag = architecture.partition(".")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*timm.list_models(), MOBILEFACENET], n=3, cutoff=0.3)
        raise InvalidOptionError(f"timm has no architecture {name!r}; the nearest are {', '.join(close)}")
    current = timm.models.get_deprecated_models().get(name, architecture)
    if current is None:
        raise InvalidOptionError(f"timm has removed the architecture {name!r}")
    if current != architecture:
        if tag:
            raise InvalidOptionError(f"timm has renamed {name} to {current}, which names its weights; use that")
        name, _, tag = current.partition(".")
    try:
        timm.get_pretrained_cfg(current)
    except RuntimeError as error:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
        raise InvalidOptionError(
            f"timm has no weights {tag!r} of {name}; it has {', '.join(tags) or 'none'}"
        ) from error
    return current
