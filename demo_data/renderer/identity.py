"""Appearance of a drawn person that does not depend on expression, pose or light."""

from dataclasses import dataclass
from typing import Final

import numpy as np

Colour = tuple[float, float, float]

PEOPLE_STREAMS: Final = {
    "faces": 1, "affectnet/train": 2, "affectnet/val": 3, "aff-wild2/train": 4, "aff-wild2/val": 5,
    "aff-wild2/test": 6, "synthetic/train": 7, "synthetic/val": 8, "synthetic/test": 9, "faces/val": 10,
    "sheet": 11,
}  # fmt: skip
"""One seed stream per set of people, so that no person of one set appears in another whatever their numbers."""

_SKIN_TONES: Final = (
    (247, 217, 196), (241, 200, 170), (229, 181, 146), (209, 157, 120), (176, 124, 88), (139, 94, 66), (101, 67, 48),
)  # fmt: skip
_HAIR_TONES: Final = (
    (28, 24, 23), (54, 38, 30), (88, 58, 40), (128, 86, 52), (176, 134, 84), (214, 182, 128), (148, 66, 36),
    (168, 166, 164), (222, 220, 216),
)  # fmt: skip
_IRIS_TONES: Final = (
    (58, 36, 24),
    (96, 62, 36),
    (112, 104, 58),
    (78, 116, 88),
    (82, 120, 156),
    (120, 134, 146),
)
HAIR_STYLES: Final = ("bald", "short", "fringe", "parted", "long", "bun", "curly", "beanie")
BEARDS: Final = ("none", "stubble", "moustache", "goatee", "full")
GLASSES: Final = ("none", "round", "square", "thin")


@dataclass(frozen=True)
class Identity:
    """Appearance of a person. Lengths are factors of an average face, about 1; shares are in [0, 1]."""

    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    clothes: Colour
    accent: Colour
    hair_style: str
    beard: str
    glasses: str
    face_width: float
    face_length: float
    jaw_squareness: float
    eye_spacing: float
    eye_width: float
    eye_opening: float
    eye_tilt: float
    brow_height: float
    brow_arch: float
    brow_tilt: float
    brow_thickness: float
    brow_length: float
    nose_width: float
    nose_length: float
    nose_depth: float
    mouth_width: float
    mouth_height: float
    upper_lip: float
    lower_lip: float
    mouth_tilt: float
    hairline: float
    ear_size: float
    age: float
    freckles: float
    make_up: float
    marks_seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Identity":
        """Draw a person: every trait independent but for a beard's and make-up's mutual exclusion."""
        skin = _between(rng, _SKIN_TONES, 4)
        masculine = rng.random() < 0.5
        lip_red = rng.uniform(0.25, 0.55)
        make_up = 0.0 if masculine or rng.random() < 0.5 else float(rng.uniform(0.3, 1.0))
        lip_target = (172.0, 62.0, 70.0) if rng.random() < 0.7 else (148.0, 44.0, 84.0)
        share = lip_red * 0.8 + 0.35 * make_up
        lip = mix((skin[0] * 0.88, skin[1] * 0.72, skin[2] * 0.70), lip_target, min(share, 0.8))

        def factor(spread: float) -> float:
            return float(np.clip(rng.normal(1.0, spread), 1.0 - 2.2 * spread, 1.0 + 2.2 * spread))

        return cls(
            skin=skin,
            hair=_between(rng, _HAIR_TONES, 6),
            iris=_between(rng, _IRIS_TONES, 6),
            lip=lip,
            clothes=_any_colour(rng),
            accent=_any_colour(rng),
            hair_style=HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=(0.08, 0.26, 0.14, 0.16, 0.17, 0.05, 0.09, 0.05))],
            beard=BEARDS[rng.choice(len(BEARDS), p=(0.40, 0.22, 0.10, 0.13, 0.15))] if masculine else "none",
            glasses=GLASSES[rng.choice(len(GLASSES), p=(0.76, 0.08, 0.08, 0.08))],
            face_width=factor(0.055),
            face_length=factor(0.05),
            jaw_squareness=float(rng.uniform(0.0, 1.0)),
            eye_spacing=factor(0.05),
            eye_width=factor(0.07),
            eye_opening=factor(0.11),
            eye_tilt=float(rng.normal(0.02, 0.035)),
            brow_height=factor(0.07),
            brow_arch=factor(0.35),
            brow_tilt=float(rng.normal(0.0, 0.025)),
            brow_thickness=factor(0.25),
            brow_length=factor(0.05),
            nose_width=factor(0.12),
            nose_length=factor(0.06),
            nose_depth=factor(0.12),
            mouth_width=factor(0.07),
            mouth_height=factor(0.025),
            upper_lip=factor(0.22),
            lower_lip=factor(0.20),
            mouth_tilt=float(rng.normal(0.0, 0.012)),
            hairline=factor(0.06),
            ear_size=factor(0.12),
            age=float(rng.beta(1.4, 2.4)),
            freckles=float(rng.random()) if rng.random() < 0.15 else 0.0,
            make_up=make_up,
            marks_seed=int(rng.integers(2**31)),
        )


def person(stream: str, seed: int, index: int) -> Identity:
    """Return person `index` of one set of people; sets never share a person.

    Args:
        stream: A key of `PEOPLE_STREAMS`.
        seed: Seed of the data set, at least 0.
        index: The person's number within the set, at least 0.
    """
    return Identity.sample(np.random.default_rng((PEOPLE_STREAMS[stream], seed, index, 0)))


def generator(stream: str, seed: int, *indices: int) -> np.random.Generator:
    """Return the generator of one item of a set (an image, a video), independent of that of its people.

    Args:
        stream: A key of `PEOPLE_STREAMS`.
        seed: Seed of the data set, at least 0.
        *indices: Numbers that identify the item within the set.
    """
    return np.random.default_rng((PEOPLE_STREAMS[stream], seed, *indices, 1))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours by the share of the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return float(red), float(green), float(blue)


def _between(rng: np.random.Generator, tones: tuple[Colour, ...], jitter: float) -> Colour:
    """Draw a colour somewhere between two neighbouring tones."""
    place = rng.uniform(0, len(tones) - 1.001)
    base = mix(tones[int(place)], tones[int(place) + 1], place % 1)
    red, green, blue = np.clip(np.array(base) + rng.normal(0, jitter, 3), 8, 250)
    return float(red), float(green), float(blue)


def _any_colour(rng: np.random.Generator) -> Colour:
    grey = rng.uniform(30, 220)
    red, green, blue = np.clip(grey + rng.normal(0, 40, 3), 10, 245)
    return float(red), float(green), float(blue)
