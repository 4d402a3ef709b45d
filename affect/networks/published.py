"""Published networks by name: the files of EmotiEffLib (A. V. Savchenko) at one commit, with what they take and give.

Names, digests and shapes are of https://github.com/sb-ai-lab/EmotiEffLib at `COMMIT` (4 April 2025). Figures, on the
official validation sets: "README" is the table in the description of the package emotiefflib 1.1.1, "paper" is arXiv
2207.09508.
"""

from dataclasses import dataclass, field
from typing import Final

from affect.labels import BACKBONE_EXPRESSIONS, VALENCE_AROUSAL
from affect.networks.backbone import DEFAULT_ARCHITECTURE

COMMIT: Final = "f1df0e8548c666d268826e50b7de107fd5553e9d"
REPOSITORY: Final = f"https://raw.githubusercontent.com/sb-ai-lab/EmotiEffLib/{COMMIT}/models"
"""Address of the folder that the files are in, as raw files of the commit."""

LICENCE: Final = (
    "EmotiEffLib is under the Apache-2.0 licence, which covers its code. The weights were learnt from AffectNet and "
    "VGGFace2, which are licensed for research: their terms apply to other uses."
)

_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_WITHOUT_CONTEMPT: Final = tuple(name for name in BACKBONE_EXPRESSIONS if name != "Contempt")
_B2: Final = "tf_efficientnet_b2.ns_jft_in1k"


@dataclass(frozen=True)
class Figures:
    """Published figures of a network on official validation sets; None where none is known.

    Attributes:
        accuracy: Accuracy on AffectNet, 8 expressions.
        accuracy_7: Accuracy on AffectNet without Contempt.
        va_ccc: CCC of valence and arousal on AffectNet.
        mtl_score: P_MTL on s-Aff-Wild2 of heads on this network's features.
        lsd_f1: Macro F1 of its own logits on the synthetic set's (LSD) real validation faces.
        source: Where they are published.
    """

    accuracy: float | None = None
    accuracy_7: float | None = None
    va_ccc: tuple[float, float] | None = None
    mtl_score: float | None = None
    lsd_f1: float | None = None
    source: str = ""


@dataclass(frozen=True)
class PublishedNetwork:
    """A published file and the network in it.

    Attributes:
        path: Path below REPOSITORY.
        git_digest: Digest of the content, see `affect.storage.fingerprint.git_digest`.
        architecture: Name of the encoder, as `affect.networks.backbone.Backbone` takes it.
        image_size: Side of the square input in pixels.
        statistics: Channel means and standard deviations of the input.
        expressions: Names of its expressions in the order of its logits; empty for a network of face identities.
        has_valence_arousal: Whether valence and arousal follow the expressions.
        figures: Published figures.
        remark: What else a user should know.
    """

    path: str
    git_digest: str
    architecture: str = DEFAULT_ARCHITECTURE
    image_size: int = 224
    statistics: tuple[tuple[float, float, float], tuple[float, float, float]] = _IMAGENET
    expressions: tuple[str, ...] = BACKBONE_EXPRESSIONS
    has_valence_arousal: bool = False
    figures: Figures = field(default_factory=Figures)
    remark: str = ""

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs in order; empty for a network of face identities."""
        return (*self.expressions, *(VALENCE_AROUSAL if self.has_valence_arousal else ()))


PUBLISHED: Final = {
    "enet_b0_8_va_mtl": PublishedNetwork(
        "affectnet_emotions/enet_b0_8_va_mtl.pt", "b7223bd1ab092a1b5a42bc04a5f4fbfe4d9f8b9b",
        has_valence_arousal=True,
        figures=Figures(0.6193, 0.6494, (0.594, 0.549), 1.2765, 0.6094, "README, paper"),
        remark="MT-EmotiEffNet, the network of the paper",
    ),
    "enet_b0_8_best_vgaf": PublishedNetwork(
        "affectnet_emotions/enet_b0_8_best_vgaf.pt", "7219cfb037209b253ea8b81cf969e60a00e9181c",
        figures=Figures(0.6132, 0.6457, mtl_score=1.123, lsd_f1=0.5972, source="README"),
        remark="chosen by its features' accuracy on VGAF",
    ),
    "enet_b0_8_best_afew": PublishedNetwork(
        "affectnet_emotions/enet_b0_8_best_afew.pt", "9540c8beff661f1c2fca16de63b530cce24bb17d",
        figures=Figures(0.6095, 0.6463, mtl_score=1.110, lsd_f1=0.5932, source="README"),
        remark="chosen by its features' accuracy on AFEW",
    ),
    "enet_b2_8": PublishedNetwork(
        "affectnet_emotions/enet_b2_8.pt", "eed81e6368877e89f8a99cfabadae7c3ddc3a949", _B2, 260,
        figures=Figures(0.6303, 0.6629, mtl_score=1.147, lsd_f1=0.5206, source="README"),
    ),
    "enet_b2_7": PublishedNetwork(
        "affectnet_emotions/enet_b2_7.pt", "5a8ccbb17913461296003be726a22b6fc40d602b", _B2, 260,
        expressions=_WITHOUT_CONTEMPT,
        figures=Figures(accuracy_7=0.6634, mtl_score=1.134, source="README"),
        remark="without Contempt",
    ),
    "mobilevit_va_mtl": PublishedNetwork(
        "affectnet_emotions/mobilevit_va_mtl.pt", "d648cb1a20a5b1ab0af64192ec9be39e5cdd3961", "mobilevitv2_150",
        has_valence_arousal=True,
        remark="the architecture is inferred from the number of features, 768",
    ),
    "mbf_va_mtl": PublishedNetwork(
        "affectnet_emotions/mbf_va_mtl.pt", "522bdabca7c655a7abde9cfca17e3dfcceadf9a0", "mobilefacenet", 112, _HALF,
        has_valence_arousal=True,
        remark="MobileFaceNet, the smallest",
    ),
    "vggface2": PublishedNetwork(
        "pretrained_faces/state_vggface2_enet0_new.pt", "496a7036adeb300a6371d99bcccb28404f2f52d5",
        expressions=(),
        remark="face identities, from which the paper's network starts",
    ),
    "vggface2_b2": PublishedNetwork(
        "pretrained_faces/state_vggface2_enet2.pt", "be6ad8550fc0043d1ee90553eee654252167322a", _B2, 260,
        expressions=(),
        remark="face identities, the same for EfficientNet-B2",
    ),
}  # fmt: skip
"""All networks by name."""
