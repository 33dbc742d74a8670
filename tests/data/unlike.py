"""Pictures that are no frontal chest film, drawn at random: for what predict must refer. [H,W] uint8 each."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator], Pixels]
SIDE = 400
WORDS = ("patient", "chest", "report", "lung", "normal", "opacity", "left", "right", "history", "heart")


def _stretched(values: npt.NDArray[np.floating]) -> Pixels:
    low, high = float(values.min()), float(values.max())
    return (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)


def white_noise(rng: np.random.Generator) -> Pixels:
    return np.clip(rng.normal(128, rng.uniform(10, 70), (SIDE, SIDE)), 0, 255).astype(np.uint8)


def coloured_noise(rng: np.random.Generator) -> Pixels:
    """Spectra from 1/f^0.8 to 1/f^2, clouds among them: what photographs have on average."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(SIDE, SIDE))) / frequency ** rng.uniform(0.8, 2.0)
    return _stretched(np.fft.ifft2(spectrum).real)


def gradient(rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, (left, top) = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2)
    straight, round_ = np.cos(angle) * x + np.sin(angle) * y, np.hypot(x - left, y - top)
    return _stretched(straight if rng.random() < 0.5 else rng.choice([-1, 1]) * round_)


def blank(rng: np.random.Generator) -> Pixels:
    level = rng.integers(5, 250)
    return np.clip(rng.normal(level, 1.5, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def dead_leaves(rng: np.random.Generator) -> Pixels:
    """Discs of all sizes over one another, which have the statistics of photographs (Lee et al., 2001)."""
    picture = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(400):
        radius = int(np.clip(6 * (1 - rng.random()) ** -0.5, 4, 150))
        x, y = (int(v) for v in rng.integers(0, SIDE, 2))
        cv2.circle(picture, (x, y), radius, int(rng.integers(0, 256)), -1)
    rough = np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(rough, (0, 0), 0.8)  # type: ignore[return-value]


def hand(rng: np.random.Generator) -> Pixels:
    """Soft tissue and bones of a hand and its wrist on a dark film."""
    soft, bone = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    centre = np.array([SIDE / 2 + rng.normal(0, 12), SIDE * 0.68])
    x, y = (int(v) for v in centre)
    cv2.ellipse(soft, (x, y), (68, 80), 0, 0, 360, 110, -1)
    cv2.rectangle(soft, (x - 40, y + 40), (x + 40, SIDE), 105, -1)
    for shift, width in ((-18, 24), (20, 18)):
        cv2.line(bone, (x + shift, y + 68), (x + shift, SIDE), 90, width)
    for angle, length in zip(np.linspace(-0.55, 0.5, 5), (130, 200, 220, 200, 170), strict=True):
        towards = np.array([np.sin(angle), -np.cos(angle)])
        start = centre + np.array([66 * np.sin(angle), -48 * np.cos(angle)])
        cv2.line(soft, _point(start), _point(start + towards * length * 0.85), 105, 30)
        for first, last in ((-0.2, 0.0), (0.05, 0.27), (0.32, 0.54), (0.6, 0.8)):
            cv2.line(
                bone,
                _point(start + towards * length * first),
                _point(start + towards * length * last),
                95,
                12,
            )
    film = cv2.GaussianBlur(soft, (0, 0), 4) + cv2.GaussianBlur(bone, (0, 0), 2) + 15
    turn = cv2.getRotationMatrix2D(
        (SIDE / 2, SIDE / 2), float(rng.uniform(-25, 25)), float(rng.uniform(0.85, 1.1))
    )
    turned = cv2.warpAffine(film, turn, (SIDE, SIDE), borderValue=15.0) + rng.normal(0, 4, (SIDE, SIDE))
    return np.clip(turned, 0, 255).astype(np.uint8)


def _point(place: npt.NDArray[np.floating]) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def text_page(rng: np.random.Generator) -> Pixels:
    page = np.full((SIDE, SIDE), int(rng.integers(215, 256)), np.uint8)
    scale, y = float(rng.uniform(0.35, 0.8)), 25.0
    while y < SIDE - 8:
        line = " ".join(rng.choice(WORDS, 12))[: int(rng.integers(20, 70))]
        cv2.putText(page, line, (18, int(y)), cv2.FONT_HERSHEY_SIMPLEX, scale, int(rng.integers(0, 70)), 1)
        y += scale * 34
    return 255 - page if rng.random() < 0.3 else page


def chequered(rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[:SIDE, :SIDE]
    wave, angle = 2 * np.pi / rng.integers(8, 80), rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.where(np.sin(along * wave) * np.sin(across * wave) > 0, 230, 30).astype(np.uint8)


def street(rng: np.random.Generator) -> Pixels:
    """Sky, ground, houses with windows."""
    horizon = int(SIDE * rng.uniform(0.35, 0.65))
    scene = np.zeros((SIDE, SIDE), np.uint8)
    scene[:horizon] = np.linspace(rng.uniform(150, 250), rng.uniform(120, 220), horizon)[:, None]
    scene[horizon:] = np.linspace(rng.uniform(60, 140), rng.uniform(20, 90), SIDE - horizon)[:, None]
    for _ in range(rng.integers(4, 14)):
        x, width, top = (
            int(rng.integers(*bounds)) for bounds in ((-20, SIDE), (20, 110), (horizon // 10, horizon))
        )
        shade = int(rng.integers(20, 230))
        cv2.rectangle(scene, (x, top), (x + width, horizon + int(rng.integers(0, 60))), shade, -1)
        for row in range(top + 8, horizon, 16):
            for column in range(x + 5, x + width - 6, 14):
                cv2.rectangle(scene, (column, row), (column + 6, row + 8), shade // 2, -1)
    return np.clip(scene + rng.normal(0, 6, scene.shape), 0, 255).astype(np.uint8)


DRAWN: dict[str, Draw] = {
    "white noise": white_noise,
    "coloured noise": coloured_noise,
    "gradients": gradient,
    "blank films": blank,
    "photo-like (dead leaves)": dead_leaves,
    "hands": hand,
    "text pages": text_page,
    "chequered": chequered,
    "streets": street,
}
FILMS: dict[str, Callable[[Pixels], Pixels]] = {
    "inverted films": lambda film: 255 - film,
    "films turned by 90 degrees": lambda film: np.ascontiguousarray(np.rot90(film)),
    "films turned by 270 degrees": lambda film: np.ascontiguousarray(np.rot90(film, 3)),
    "films upside down": lambda film: np.ascontiguousarray(np.rot90(film, 2)),
}
