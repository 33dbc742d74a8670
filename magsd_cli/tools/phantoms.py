"""Chest phantoms: drawn radiographs with known lesions, for the demo and for tests. No patient is in them.

A phantom is drawn as attenuation on a plane with x and y in [-1, 1] (x to the right of the picture, which is
the patient's left; y down), then turned into film brightness. Anatomy, exposure, noise and geometry are drawn
independently of the class: only the opacity itself tells the classes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
NORMAL, PNEUMONIA, COVID = "Normal", "Pneumonia", "COVID-19"


@dataclass(frozen=True)
class Anatomy:
    """One person's chest, in units of half the picture's side."""

    apex: float  # y of the lungs' upper end
    base: tuple[float, float]  # y of the diaphragm's domes, picture's left and right
    width: float  # of a lung
    inner: float  # distance of a lung from the midline
    heart: float  # the heart's size against the usual
    ribs: float  # distance of two ribs
    rib_contrast: float
    vessels: float
    breast: float
    body: float  # half width of the trunk
    phase: float  # where the ribs begin


def draw_phantom(
    label: str, rng: np.random.Generator, size: int, person: Anatomy | None = None
) -> tuple[Pixels, Pixels]:
    """Draw one chest phantom of class `label` and its lesion mask, of `person` or (None) of a new one.

    Returns pixels uint8 [size, size] and the mask uint8 [size, size], 0 or 255; the mask of a Normal is
    empty. Pneumonia: one lobar consolidation. COVID-19: patchy opacities on both sides, peripheral and mostly
    in the lower zones. Raises `KeyError` for an unknown label and `ValueError` for a size under 32.
    """
    if size < 32:
        raise ValueError(f"a phantom needs 32 pixels a side, not {size}")
    draw_lesion = LESIONS[label]
    anatomy = person or draw_anatomy(rng)
    x, y = _plane(size, rng)
    lungs = np.maximum(_lung(x, y, anatomy, 0), _lung(x, y, anatomy, 1))
    density, extent = draw_lesion(x, y, anatomy, rng)
    attenuation = _soft_tissue(x, y, lungs, anatomy, rng)
    attenuation += _bones(x, y, anatomy) + _vessels(x, y, lungs, anatomy, rng)
    attenuation += density * lungs
    mask = np.where(extent * lungs > 0.5, 255, 0).astype(np.uint8)
    return _film(attenuation, rng), mask


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A new person's chest: images of one patient share it."""
    base = rng.uniform(0.36, 0.54)
    return Anatomy(
        apex=rng.uniform(-0.84, -0.76),
        base=(base - rng.uniform(0.0, 0.08), base + rng.uniform(0.0, 0.05)),
        width=rng.uniform(0.60, 0.70),
        inner=rng.uniform(0.09, 0.13),
        heart=rng.uniform(0.85, 1.2),
        ribs=rng.uniform(0.135, 0.16),
        rib_contrast=rng.uniform(0.06, 0.11),
        vessels=rng.uniform(0.6, 1.3),
        breast=rng.uniform(0.0, 0.14),
        body=rng.uniform(0.88, 0.98),
        phase=rng.uniform(0.0, 1.0),
    )


def _plane(size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """x and y [size, size] of every pixel for a patient who stands a little askew, near or far."""
    axis = (np.arange(size, dtype=np.float64) + 0.5) * (2 / size) - 1
    x, y = np.meshgrid(axis, axis)
    angle, zoom = rng.normal(0, 0.035), rng.uniform(0.88, 1.04)
    x, y = x - rng.normal(0, 0.03), y - rng.normal(0, 0.03)
    turned_x = (np.cos(angle) * x - np.sin(angle) * y) * zoom
    turned_y = (np.sin(angle) * x + np.cos(angle) * y) * zoom
    return turned_x, turned_y


def _step(distance: Floats, softness: float) -> Floats:
    """0 outside (negative distance) to 1 inside, over about `softness`."""
    smooth: Floats = 1 / (1 + np.exp(np.clip(-distance / softness, -30, 30)))
    return smooth


def _chest_wall(y: Floats, anatomy: Anatomy) -> Floats:
    """The distance of the lungs' outer edge from the midline at height `y`."""
    height = np.clip((y - anatomy.apex) / (0.62 - anatomy.apex), 0, 1)
    wall: Floats = anatomy.inner + anatomy.width * (1 - (1 - height) ** 2.2) ** 0.62
    return wall


def _lung(x: Floats, y: Floats, anatomy: Anatomy, side: int) -> Floats:
    """One lung, 0..1: side 0 on the picture's left. A dome above, flaring down, cut off by the diaphragm."""
    p = x if side else -x
    outer = _chest_wall(y, anatomy)
    floor = anatomy.base[side] + 1.5 * np.maximum(p - 0.36, 0) ** 2 + 0.5 * np.minimum(p - 0.36, 0) ** 2
    return _step(np.minimum(p - anatomy.inner, outer - p), 0.012) * _step(floor - y, 0.01)


def _blob(x: Floats, y: Floats, at: tuple[float, float], radii: tuple[float, float], soft: float) -> Floats:
    """A soft ellipse, 0..1."""
    distance = 1 - np.sqrt(((x - at[0]) / radii[0]) ** 2 + ((y - at[1]) / radii[1]) ** 2)
    return _step(distance, soft)


def _soft_tissue(x: Floats, y: Floats, lungs: Floats, anatomy: Anatomy, rng: np.random.Generator) -> Floats:
    """Trunk with shoulders and neck, the lungs' air, breasts, belly, and what stands between the lungs."""
    p = np.abs(x)
    shoulder = -0.98 + 0.55 * np.maximum(p - 0.28, 0) ** 1.4
    trunk = _step(np.minimum(anatomy.body + 0.12 * np.maximum(-y, 0) - p, y - shoulder), 0.02)
    tissue = np.maximum(trunk, _step(0.24 - p, 0.02)) * (1.0 - 0.20 * x**2 + 0.05 * y)
    tissue -= 0.58 * lungs * (1.0 - 0.14 * p)
    for side in (-1, 1):
        breast = _blob(x, y, (side * 0.44, 0.34), (0.36, 0.30), 0.06)
        tissue += anatomy.breast * breast * rng.uniform(0.8, 1.1)
    belly = 0.22 * _step(y - 0.30, 0.06) * trunk * (1 - lungs)
    return tissue + belly + _mediastinum(x, y, lungs, anatomy)


def _mediastinum(x: Floats, y: Floats, lungs: Floats, anatomy: Anatomy) -> Floats:
    """Heart (leaning to the patient's left), great vessels, aortic knob and the air in the trachea."""
    size = anatomy.heart
    across, along = 0.80 * (x - 0.15) + 0.60 * (y - 0.18), 0.80 * (y - 0.18) - 0.60 * (x - 0.15)
    ventricle = _blob(across, along, (0.0, 0.0), (0.37 * size, 0.23 * size), 0.05)
    atrium = _blob(x, y, (-0.06, 0.20), (0.17 * size, 0.26 * size), 0.06)
    heart = np.maximum(ventricle, atrium)
    great = _step(0.16 - np.abs(x - 0.02) + 0.05 * np.clip(y, -0.5, 0.3), 0.018) * _step(y + 0.62, 0.08)
    knob = _blob(x, y, (0.14, -0.34), (0.08, 0.10), 0.10)
    trachea = _step(0.036 - np.abs(x + 0.01), 0.010) * _step(-0.22 - y, 0.04) * 0.15
    solid = np.maximum(np.maximum(heart, great), knob)
    return 0.44 * solid * lungs + 0.16 * solid + 0.06 * heart - trachea


def _bones(x: Floats, y: Floats, anatomy: Anatomy) -> Floats:
    """Ribs behind (down and outwards) and in front (down and inwards), spine, clavicles, shoulder blades."""
    p = np.abs(x)
    cage = _step(_chest_wall(y, anatomy) + 0.05 - p, 0.015) * _step(y - anatomy.apex, 0.05)
    cage = cage * _step(0.62 - y, 0.08)
    behind = y + 0.14 * p - 0.62 * p**2 - 0.25 * np.maximum(p - 0.55, 0)
    in_front = y - 0.70 * (0.70 - p) + 0.30 * (0.70 - p) ** 2
    bones = anatomy.rib_contrast * _bands(behind, anatomy.ribs, anatomy.phase, 0.30) * cage
    front = _bands(in_front, anatomy.ribs * 1.15, anatomy.phase, 0.30) * cage * _step(p - 0.2, 0.04)
    bones += 0.55 * anatomy.rib_contrast * front
    spine = _step(0.085 - p, 0.015) * (0.05 + 0.025 * np.sin(y * 2 * np.pi / 0.12))
    collar = y + 0.62 + 0.07 * np.sin((p - 0.12) * 5.0) + 0.22 * np.maximum(p - 0.1, 0)
    clavicles = _step(0.026 - np.abs(collar), 0.006) * _step(p - 0.09, 0.012) * _step(0.8 - p, 0.02)
    edge = p - 0.72 - 0.12 * (y + 0.4)
    blades = (_step(edge, 0.012) - 0.6 * _step(edge - 0.03, 0.02)) * _step(0.32 - np.abs(y + 0.36), 0.05)
    return bones + spine + 0.15 * clavicles + 0.10 * blades


def _bands(height: Floats, spacing: float, phase: float, share: float) -> Floats:
    """Parallel ribs across `height`, each a `share` of the spacing wide, brighter at their edges (cortex)."""
    place = np.abs((height / spacing + phase) % 1 - 0.5)
    inside = _step((share - place), 0.03)
    edge = np.exp(-(((place - share + 0.05) / 0.05) ** 2))
    band: Floats = inside * 0.8 + 0.5 * edge
    return band


def _vessels(x: Floats, y: Floats, lungs: Floats, anatomy: Anatomy, rng: np.random.Generator) -> Floats:
    """The hila and the vessels that fan out from them, thinner the farther they go; a fine mottle."""
    size = x.shape[0]
    canvas = np.zeros_like(x)
    for side in (-1.0, 1.0):
        for _ in range(16):
            angle = rng.uniform(-1.15, 1.25)
            place = np.array([side * rng.uniform(0.15, 0.2), rng.uniform(-0.16, 0.06)])
            width = rng.uniform(0.012, 0.02)
            for _ in range(7):
                following = place + 0.085 * np.array([side * np.cos(angle), np.sin(angle)])
                ends = [tuple(((p + 1) * size * 8).astype(int).tolist()) for p in (place, following)]
                stroke = np.zeros_like(x)
                thick = max(1, round(width * size))
                cv2.line(stroke, ends[0], ends[1], 1.0, thick, cv2.LINE_AA, 4)
                np.maximum(canvas, stroke * min(1.0, width * 70), out=canvas)
                place, width, angle = following, width * 0.8, angle + rng.normal(0, 0.22)
    soft = np.asarray(cv2.GaussianBlur(canvas, (0, 0), size * 0.004), np.float64)
    hila = _blob(np.abs(x), y, (0.19, -0.05), (0.09, 0.15), 0.25)
    mottle = _clouds(size, 0.03, rng)
    return lungs * (anatomy.vessels * (0.16 * soft + 0.08 * hila) + 0.03 * mottle)


def _clouds(size: int, grain: float, rng: np.random.Generator) -> Floats:
    """Smooth noise of unit standard deviation, [size, size]; `grain` is the size of a cloud (side: 1)."""
    coarse = max(4, round(1 / grain))
    noise = rng.standard_normal((coarse, coarse))
    clouds = np.asarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC), np.float64)
    return clouds / max(float(clouds.std()), 1e-6)


def _no_lesion(x: Floats, _y: Floats, _anatomy: Anatomy, _rng: np.random.Generator) -> tuple[Floats, Floats]:
    return np.zeros_like(x), np.zeros_like(x)


def _consolidation(x: Floats, y: Floats, anatomy: Anatomy, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """One lobe filled: dense, cut off by a fissure on one side, air bronchograms within. Density and mask."""
    side = int(rng.integers(2))
    sign = 1.0 if side else -1.0
    zone = rng.choice([-0.38, 0.02, 0.26], p=[0.3, 0.35, 0.35])
    at = (sign * rng.uniform(0.32, 0.48), zone + rng.uniform(-0.05, 0.05))
    radii = (rng.uniform(0.22, 0.32), rng.uniform(0.18, 0.27))
    ragged = 1 + 0.10 * _clouds(x.shape[0], 0.12, rng)
    blob = _blob(x, y, at, radii, 0.10) * ragged
    tilt = rng.uniform(-0.15, 0.15)
    fissure = at[1] + 0.45 * radii[1] * (1 if zone < 0 else -1)
    above = 1.0 if zone < 0 else -1.0
    blob = blob * _step(above * (fissure + tilt * (x - at[0]) - y), 0.02)
    blob = np.clip(blob * 1.1, 0, 1) * _lung(x, y, anatomy, side)
    branches = np.abs(np.sin(14 * (x * sign * 0.5 + y) + 3 * _clouds(x.shape[0], 0.2, rng)))
    bronchograms = _step((0.12 - branches), 0.04) * 0.25
    density = rng.uniform(0.38, 0.54) * blob * (1 - bronchograms)
    return density, blob


def _peripheral_patches(
    x: Floats, y: Floats, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Ground-glass patches along the chest wall of both lungs, mostly below. Density and mask."""
    texture = np.clip(1 + 0.30 * _clouds(x.shape[0], 0.045, rng), 0.3, 1.7)
    total = np.zeros_like(x)
    for side in (0, 1):
        sign = 1.0 if side else -1.0
        for _ in range(int(rng.integers(2, 5))):
            height = float(np.clip(rng.normal(0.14, 0.22), -0.5, 0.42))
            wall = float(_chest_wall(np.array(height), anatomy))
            at = (sign * (wall - rng.uniform(0.06, 0.16)), height)
            patch = _blob(x, y, at, (rng.uniform(0.09, 0.16), rng.uniform(0.10, 0.18)), 0.16)
            total = np.maximum(total, patch * rng.uniform(0.75, 1.0))
    ragged = np.clip(total * (1 + 0.22 * _clouds(x.shape[0], 0.08, rng)), 0, 1)
    density = rng.uniform(0.24, 0.36) * ragged * texture
    return density, ragged


def _film(attenuation: Floats, rng: np.random.Generator) -> Pixels:
    """Film brightness: scatter, exposure, contrast and gamma as they come, quantum noise, focus."""
    size = attenuation.shape[0]
    blurred = cv2.GaussianBlur(attenuation, (0, 0), size * 0.06)
    value = 0.86 * attenuation + 0.14 * blurred
    value += 0.05 * (np.linspace(-1, 1, size)[:, None] * rng.normal(0, 1))
    value = (value - rng.uniform(0.18, 0.34)) / rng.uniform(0.95, 1.25)
    value = np.clip(value, 0, None) ** rng.uniform(0.8, 1.4)
    value = value / (1 + (value / 0.95) ** 6) ** (1 / 6)  # the film's shoulder
    value = cv2.GaussianBlur(value, (0, 0), size * rng.uniform(0.0012, 0.004))
    noise = rng.standard_normal(value.shape) * rng.uniform(0.008, 0.03)
    value = value + noise * np.sqrt(np.clip(value, 0.05, 1))
    bright = rng.uniform(0.85, 1.05) * value + rng.uniform(0.0, 0.05)
    pixels: Pixels = np.clip(bright * 255, 0, 255).round().astype(np.uint8)
    return pixels


LESIONS: dict[str, Callable[[Floats, Floats, Anatomy, np.random.Generator], tuple[Floats, Floats]]] = {
    NORMAL: _no_lesion,
    PNEUMONIA: _consolidation,
    COVID: _peripheral_patches,
}
