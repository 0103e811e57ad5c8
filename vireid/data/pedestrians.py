"""Drawn pedestrians: the traits of an identity, the drawing of a pose, and the image that a camera takes of it.

One drawing serves both modalities: shapes and prints become a map of materials, and a palette gives each material its
brightness. A person's visible and infrared palettes are drawn independently.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vireid.modality import Modality


class Shot(NamedTuple):
    """Describe a picture to take: its file, person, camera, frame number and modality."""

    path: str
    identity: int
    camera: int
    frame: int
    modality: Modality


# People: the traits of an identity.

# Materials of a pixel. A print follows its garment; ``material + _SEAM`` is the dark edge of a material.
_SHADOW, _SKIN, _EYES, _HAIR, _HAT, _OCCLUDER = range(1, 7)
_TOP, _TOP_PRINT, _SHIRT, _BOTTOM, _BOTTOM_PRINT, _SHOES, _BAG = range(7, 14)
_SEAM = 16
_Tone = tuple[float, float, float]
_Point = tuple[float, float]
_Pixels = NDArray[np.float32]


class _Person:
    """Draw the traits of an identity: lengths in metres, clothes, and the colour of each material in each modality."""

    def __init__(self, seed: int, identity: int) -> None:
        rng = default_rng((seed, 0, identity))
        self.height = rng.uniform(1.55, 1.9)
        self.shoulders = 0.82 * self.height  # above the ground, as are the hips
        self.hips = self.height * rng.uniform(0.44, 0.52)
        self.girth = rng.uniform(0.75, 1.4)  # 1 is average
        self.half_shoulders = self.height * rng.uniform(0.1, 0.13)
        self.half_hips = self.half_shoulders * (0.54 + 0.18 * self.girth)
        self.depth = 0.12 * self.girth
        self.limbs = 0.8 + 0.2 * self.girth
        self.head = rng.uniform(0.11, 0.135)
        self.stride = rng.uniform(0.2, 0.5)
        self.hair = _pick(rng, short=3, long=3, bun=2, cap=2, bald=1)
        self.sleeves = _pick(rng, long=4, short=3, none=1)
        self.hem = float(rng.choice([0.0, 0.1, 0.1, 0.42]))  # how far the top reaches below the hips
        self.front = _pick(rng, plain=2, jacket=3, triangle=1, square=1, disc=1)
        self.top_pattern = _pick(rng, plain=4, hoops=2, stripes=2, diagonal=2, checks=2, dots=2, yoke=2)
        self.bottom = _pick(rng, trousers=5, shorts=3, skirt=2)
        self.bottom_pattern = _pick(rng, plain=6, hoops=1, stripes=1, checks=1, dots=1)
        self.bottom_length = rng.uniform(0.35, 0.8)  # of a skirt or shorts, as a share of the leg
        self.flare = rng.random()
        self.period = int(rng.integers(90, 200))  # of the patterns, in millimetres
        self.shoes = _pick(rng, low=2, boots=1)
        self.bag = _pick(rng, none=3, backpack=2, shoulder=2, hand=2)
        self.bag_side = int(rng.choice([-1, 1]))
        self.tones = {modality: _palette(modality, rng) for modality in (Modality.VISIBLE, Modality.INFRARED)}


def _palette(modality: Modality, rng: Generator) -> dict[int, _Tone]:
    """Draw the colour of every material; a print is clearly brighter or darker than its garment."""
    brightness = {material: rng.uniform(30, 225) for material in (_HAT, _TOP, _BOTTOM, _SHOES, _BAG)}
    for garment, printed in [(_TOP, _TOP_PRINT), (_BOTTOM, _BOTTOM_PRINT), (_TOP, _SHIRT)]:
        contrast = rng.uniform(60, 110) * rng.choice([-1, 1])
        fits = 20 <= brightness[garment] + contrast <= 240
        brightness[printed] = brightness[garment] + (contrast if fits else -contrast)
    if modality is Modality.INFRARED:
        brightness |= {_SKIN: rng.uniform(150, 215), _HAIR: rng.uniform(45, 160), _EYES: 40}
        return {material: (tone, tone, tone) for material, tone in brightness.items()}
    tones = {material: _tint(tone, 0.8 * rng.random(), rng) for material, tone in brightness.items()}
    skin, hair = rng.uniform(90, 205), rng.uniform(20, 120)
    brown = {_SKIN: (min(255.0, 1.25 * skin), 0.95 * skin, 0.75 * skin), _HAIR: (1.2 * hair, 0.95 * hair, 0.7 * hair)}
    return {**tones, **brown, _EYES: (30.0, 25.0, 25.0)}


def _tint(brightness: float, saturation: float, rng: Generator) -> _Tone:
    """Draw a hue and return its colour of this brightness."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, 1.0)
    peak = brightness / (0.3 * red + 0.59 * green + 0.11 * blue)
    purity = min(1.0, (255 - brightness) / max(1e-6, peak - brightness))  # reduced, rather than the brightness
    red, green, blue = (brightness + purity * (peak * channel - brightness) for channel in (red, green, blue))
    return red, green, blue


def _pick(rng: Generator, **weights: int) -> str:
    """Draw one of the names with a probability in proportion to its weight."""
    names = [name for name, weight in weights.items() for _ in range(weight)]
    return names[rng.integers(len(names))]


# Drawing: a person in a pose becomes a map of materials.


class _Canvas:
    """Draw on a map of materials, finer than the image, in metres from the feet up.

    An image shows one metre by two. At ``yaw`` 0 the person faces the camera; ``swing`` is the angle of a step.
    """

    def __init__(
        self, size: tuple[int, int], *, yaw: float, swing: float, zoom: float, right: float, up: float
    ) -> None:
        self.height, self.width = _FINER * size[0], _FINER * size[1]
        self.image = Image.new("P", (self.width, self.height))
        self.pen = ImageDraw.Draw(self.image)
        self.swing, self.facing, self.turned = swing, math.cos(yaw), math.sin(yaw)
        self.origin = (0.5 + right) * self.width, (1.95 - up) / 2 * self.height
        self.scale = self.width * zoom, self.height / 2 * zoom

    def across(self, half_width: float, half_depth: float) -> float:
        """Return half the width at which an elliptical cross-section appears."""
        return math.sqrt((half_width * self.facing) ** 2 + (half_depth * self.turned) ** 2)

    def project(self, right: float, up: float, ahead: float) -> _Point:
        return right * self.facing + ahead * self.turned, up

    def nearness(self, right: float, ahead: float) -> float:
        return ahead * self.facing - right * self.turned

    def polygon(self, points: Sequence[_Point], material: int) -> None:
        outline = max(1, self.height // 288)
        self.pen.polygon([self._pixel(*point) for point in points], material, material + _SEAM, outline)

    def box(self, x: float, y: float, half_width: float, half_height: float, material: int) -> None:
        corners = [(x + a * half_width, y + b * half_height) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        self.polygon(corners, material)

    def disc(self, x: float, y: float, half_width: float, half_height: float, material: int) -> None:
        corners = self._pixel(x - half_width, y + half_height), self._pixel(x + half_width, y - half_height)
        self.pen.ellipse(corners, material)

    def limb(self, joints: Sequence[_Point], radii: Sequence[float], material: int) -> None:
        """Draw a chain of tapered capsules, the seam first and wider."""
        for grown, shade in [(0.012, material + _SEAM), (0.0, material)]:
            chain = [(x, y, radius + grown) for (x, y), radius in zip(joints, radii, strict=True)]
            for x, y, radius in chain:
                self.disc(x, y, radius, radius, shade)
            for (x, y, radius), (to_x, to_y, to_radius) in pairwise(chain):
                length = max(1e-6, math.sqrt((to_x - x) ** 2 + (to_y - y) ** 2))
                a, b = (y - to_y) / length, (to_x - x) / length
                corners = [(x + a * radius, y + b * radius), (to_x + a * to_radius, to_y + b * to_radius)]
                corners += [(to_x - a * to_radius, to_y - b * to_radius), (x - a * radius, y - b * radius)]
                self.pen.polygon([self._pixel(*corner) for corner in corners], shade)

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        return round(self.origin[0] + x * self.scale[0]), round(self.origin[1] - y * self.scale[1])


_FINER = 2


def _draw_person(canvas: _Canvas, person: _Person) -> None:
    """Draw everything from the farthest to the nearest."""
    legs = sorted((-1, 1), key=lambda side: canvas.nearness(side * person.half_hips, side * canvas.swing))
    arms = sorted((-1, 1), key=lambda side: canvas.nearness(side * person.half_shoulders, -side * canvas.swing))
    hidden_arms = arms[:1] if abs(canvas.turned) > 0.5 else []
    canvas.disc(0, 0.02, canvas.across(0.3, 0.3), 0.05, _SHADOW)
    if canvas.facing > 0:
        _draw_back(canvas, person)
    for side in hidden_arms:
        _draw_arm(canvas, person, side)
    for side in legs:
        _draw_leg(canvas, person, side)
    _draw_trunk(canvas, person)
    if canvas.facing <= 0:
        _draw_back(canvas, person)
    _draw_head(canvas, person)
    for side in arms[len(hidden_arms) :]:
        _draw_arm(canvas, person, side)


def _draw_back(canvas: _Canvas, person: _Person) -> None:
    if person.bag == "backpack":
        x, y = canvas.project(0, person.shoulders - 0.2, -person.depth - 0.06)
        canvas.box(x, y, canvas.across(0.16, 0.1), 0.22, _BAG)
    if person.hair == "long":
        x, y = canvas.project(0, person.shoulders + 0.06 + person.head, -0.3 * person.head)
        canvas.limb([(x, y), (x, person.shoulders - 0.05)], [0.8 * person.head, 0.7 * person.head], _HAIR)


def _draw_leg(canvas: _Canvas, person: _Person, side: int) -> None:
    angle = side * canvas.swing
    bend = 0.06 + 0.5 * max(0.0, -angle)
    bone = 0.5 * (person.hips - 0.05)
    hip, knee, ankle = _joints(canvas, 0.5 * side * person.half_hips, person.hips, bone, (angle, angle - bend))
    toe = ankle[0] + 0.12 * canvas.turned + 0.03 * side * canvas.facing, ankle[1] - 0.02
    canvas.limb([hip, knee, ankle], [0.08 * person.limbs, 0.055 * person.limbs, 0.036], _SKIN)
    canvas.limb([ankle, toe], [0.042, 0.036], _SHOES)
    if person.bottom == "trousers":
        cuff, end = 0.045 + 0.05 * person.flare, _between(knee, ankle, 0.85)
        canvas.limb([hip, knee, end], [0.09 * person.limbs, 0.06 * person.limbs + 0.2 * cuff, cuff], _BOTTOM)
    elif person.bottom == "shorts":
        end = _between(hip, knee, 0.5 + 0.7 * person.bottom_length)
        canvas.limb([hip, end], [0.09 * person.limbs, 0.07 * person.limbs + 0.03 * person.flare], _BOTTOM)
    if person.shoes == "boots":
        canvas.limb([_between(knee, ankle, 0.4), ankle], [0.062 * person.limbs, 0.045], _SHOES)


def _draw_trunk(canvas: _Canvas, person: _Person) -> None:
    if person.bottom == "skirt":
        flared, low = 1.1 + person.flare, person.hips * (1 - person.bottom_length)
        top = canvas.across(person.half_hips, person.depth)
        hem = canvas.across(flared * person.half_hips, flared * person.depth)
        canvas.polygon([(-top, person.hips + 0.05), (top, person.hips + 0.05), (hem, low), (-hem, low)], _BOTTOM)
    canvas.limb([(0, person.shoulders), (0, person.shoulders + 0.1)], [0.055, 0.05], _SKIN)
    outline = [  # half width, half depth, height
        (0.4 * person.half_shoulders, 0.6 * person.depth, person.shoulders + 0.06),
        (0.97 * person.half_shoulders, 0.8 * person.depth, person.shoulders),
        (0.92 * person.half_shoulders, 1.1 * person.depth, 0.75 * person.shoulders + 0.25 * person.hips),
        (0.97 * person.half_hips, person.depth, person.hips + 0.14),
        (1.1 * person.half_hips, 1.1 * person.depth, person.hips),
        (1.2 * person.half_hips, 1.2 * person.depth, person.hips - person.hem),
    ]
    edge = [(canvas.across(width, depth), up) for width, depth, up in outline]
    canvas.polygon([*edge, *((-x, y) for x, y in reversed(edge))], _TOP)
    if canvas.facing > 0.2:
        x, low = canvas.turned * person.depth, person.hips - person.hem
        if person.front == "jacket":
            middle, half = 0.5 * (person.shoulders + 0.05 + low), 0.5 * (person.shoulders + 0.05 - low)
            canvas.box(x, middle, 0.06 * canvas.facing, half, _SHIRT)
        elif person.front != "plain":
            corners = {"triangle": 3, "square": 4, "disc": 12}[person.front]
            turns = [2 * math.pi * (corner + 0.5) / corners for corner in range(corners)]
            y = 0.7 * person.shoulders + 0.3 * person.hips
            points = [(x + 0.1 * canvas.facing * math.sin(turn), y - 0.1 * math.cos(turn)) for turn in turns]
            canvas.polygon(points, _TOP_PRINT)
        if person.bag == "backpack":
            for side in (-0.5, 0.5):
                strap = x + side * person.half_shoulders * canvas.facing
                canvas.box(strap, person.shoulders - 0.1, 0.018, 0.14, _BAG)
    if person.bag == "shoulder":
        x, y = canvas.project(-0.5 * person.bag_side * person.half_shoulders, person.shoulders + 0.03, 0)
        hung, low = canvas.project(1.2 * person.bag_side * person.half_hips, person.hips, 0)
        canvas.polygon([(x - 0.02, y), (x + 0.02, y), (hung + 0.02, low), (hung - 0.02, low)], _BAG)
        canvas.box(hung, low - 0.08, canvas.across(0.07, 0.15), 0.11, _BAG)


def _draw_arm(canvas: _Canvas, person: _Person, side: int) -> None:
    angle, out = -0.9 * side * canvas.swing, side * person.half_shoulders
    shoulder, elbow, hand = _joints(canvas, out, person.shoulders - 0.03, 0.17 * person.height, (angle, angle + 0.3))
    elbow, hand = (elbow[0] + 0.15 * out * canvas.facing, elbow[1]), (hand[0] + 0.2 * out * canvas.facing, hand[1])
    if person.bag == "hand" and side == person.bag_side:
        canvas.box(hand[0], hand[1] - 0.16, canvas.across(0.06, 0.16), 0.12, _BAG)
    canvas.limb([shoulder, elbow, hand], [0.045 * person.limbs, 0.038 * person.limbs, 0.034], _SKIN)
    if person.sleeves == "long":
        cuff, radii = _between(elbow, hand, 0.85), [0.055, 0.048, 0.043]
        canvas.limb([shoulder, elbow, cuff], [radius * person.limbs for radius in radii], _TOP)
    elif person.sleeves == "short":
        canvas.limb([shoulder, _between(shoulder, elbow, 0.6)], [0.055 * person.limbs] * 2, _TOP)


def _draw_head(canvas: _Canvas, person: _Person) -> None:
    tall, wide, middle = person.head, 0.8 * person.head, person.shoulders + 0.07 + person.head
    scalp = _SKIN if person.hair == "bald" else _HAIR
    canvas.disc(0, middle, wide + 0.01, tall + 0.01, scalp + _SEAM)
    canvas.disc(0, middle, wide, tall, scalp)
    if person.hair == "bun":
        canvas.disc(-0.5 * wide * canvas.turned, middle + tall, 0.5 * wide, 0.45 * wide, _HAIR)
    if canvas.facing > -0.3:
        face = wide * (0.5 + 0.38 * max(0.0, canvas.facing))
        canvas.disc(0.5 * wide * canvas.turned, middle - 0.18 * tall, face, 0.8 * tall, _SKIN)
        for side in (-0.4 * wide, 0.4 * wide):
            if canvas.nearness(side, wide) > 0.3 * wide:
                canvas.disc(*canvas.project(side, middle, 0.8 * wide), 0.014, 0.014, _EYES)
    if person.hair == "cap":
        turns = [math.pi * step / 12 for step in range(13)]
        dome = [(1.08 * wide * math.cos(turn), middle + (0.3 + 0.8 * math.sin(turn)) * tall) for turn in turns]
        canvas.polygon(dome, _HAT)
        if canvas.facing > -0.5:
            brim = wide * (0.9 + 0.5 * abs(canvas.turned))
            canvas.disc(0.6 * wide * canvas.turned, middle + 0.3 * tall, brim, 0.1 * tall, _HAT + _SEAM)


def _joints(canvas: _Canvas, right: float, up: float, bone: float, angles: Sequence[float]) -> list[_Point]:
    """Project a chain of bones that hangs from a joint; an angle above zero points ahead."""
    joints, ahead = [canvas.project(right, up, 0)], 0.0
    for angle in angles:
        up, ahead = up - bone * math.cos(angle), ahead + bone * math.sin(angle)
        joints.append(canvas.project(right, up, ahead))
    return joints


def _between(start: _Point, end: _Point, share: float) -> _Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _print_patterns(canvas: _Canvas, person: _Person) -> NDArray[np.uint8]:
    """Return the map of materials with the patterns of the garments, which hang from the hips."""
    materials = np.array(canvas.image)
    across = (np.arange(canvas.width) - canvas.origin[0]) / canvas.scale[0] - 0.12 * canvas.turned
    up = (canvas.origin[1] - np.arange(canvas.height)) / canvas.scale[1] - person.hips
    x, y = (1000 * across).astype(np.int64)[None, :], (1000 * up).astype(np.int64)[:, None]  # whole millimetres
    for garment, name in [(_TOP, person.top_pattern), (_BOTTOM, person.bottom_pattern)]:
        if name != "plain":
            materials[(materials == garment) & _PATTERNS[name](x, y, person.period)] = garment + 1
    return materials


_PATTERNS: dict[str, Callable[[Any, Any, int], Any]] = {
    "hoops": lambda x, y, period: y % period < period // 2,
    "stripes": lambda x, y, period: x % period < period // 2,
    "diagonal": lambda x, y, period: (x + y) % period < period // 2,
    "checks": lambda x, y, period: (x % period < period // 2) ^ (y % period < period // 2),
    "dots": lambda x, y, period: (x % period - period // 2) ** 2 + (y % period - period // 2) ** 2 < (period // 3) ** 2,
    "yoke": lambda x, y, period: y > 2 * period,
}


# Cameras: the scene, the light and the noise of a picture.


def photograph(shot: Shot, size: tuple[int, int], difficulty: float, seed: int) -> NDArray[np.uint8]:
    """Return a camera's image of a person, (h, w, 3)."""
    infrared = shot.modality is Modality.INFRARED
    rng = default_rng((seed, 1, shot.identity, shot.camera, shot.frame, infrared))
    person = _person(seed, shot.identity)
    swing = person.stride * math.sin(2 * math.pi * rng.random())
    canvas = _Canvas(
        size,
        yaw=math.pi * (0.5 * difficulty * rng.uniform(-1, 1) + (rng.random() < 0.5 * difficulty)),
        swing=swing,
        zoom=1.04 + 0.15 * difficulty * rng.uniform(-1, 1),
        right=0.12 * difficulty * rng.uniform(-1, 1),
        up=0.1 * difficulty * rng.uniform(-1, 1) - person.hips * (1 - math.cos(swing)),
    )
    _draw_person(canvas, person)
    if rng.random() < 0.4 * difficulty:  # a post, or something low to walk behind
        half_width, top = [(0.08, 2.5), (0.3, 0.5), (0.4, 0.8)][rng.integers(3)]
        canvas.box(rng.uniform(-0.5, 0.5), top - 2, half_width, 2, _OCCLUDER)
    occluder = _tint(rng.uniform(40, 180), 0 if infrared else 0.3, rng)
    colour, cover = _paint(canvas, person, {**person.tones[shot.modality], _OCCLUDER: occluder})

    scene = _scene(seed, shot.camera, infrared, size)  # h (4 w) 3
    left = rng.integers(3 * size[1] + 1)
    picture = colour + scene[:, left : left + size[1]] * (1 - cover)
    habits = default_rng((seed, 2, shot.camera, infrared))
    picture *= _round(cover, habits) * (1 + 0.4 * difficulty * rng.uniform(-1, 1))
    picture *= _lamp(size, difficulty, rng) if infrared else 1 + 0.3 * difficulty * habits.uniform(-1, 1, 3)
    blur = ImageFilter.GaussianBlur(difficulty * rng.uniform(0.001, 0.01) * size[0])
    noise = rng.integers(-128, 128, (2, *size, 1 if infrared else 3), dtype=np.int8).astype(np.float32).sum(axis=0)
    noise *= np.float32(difficulty * rng.uniform(0.03, 0.2))
    return _pixels(np.asarray(Image.fromarray(_pixels(picture)).filter(blur)) + noise)


_person = lru_cache(maxsize=4096)(_Person)


def _paint(canvas: _Canvas, person: _Person, tones: dict[int, _Tone]) -> tuple[_Pixels, _Pixels]:
    """Return the person's colour (h, w, 3), black elsewhere, and the share of the scene that it covers (h, w, 1)."""
    palette, opacity = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    for material, tone in tones.items():
        palette[material], palette[material + _SEAM] = tone, np.multiply(0.62, tone)
        opacity[[material, material + _SEAM]] = 255
    opacity[_SHADOW] = 110
    materials = Image.fromarray(_print_patterns(canvas, person))
    cover = materials.point(opacity.tolist()).reduce(_FINER)
    materials.putpalette(palette.tobytes())
    colour = materials.convert("RGB").reduce(_FINER)
    return np.asarray(colour, np.float32), np.asarray(cover, np.float32)[:, :, None] / np.float32(255)


def _round(cover: _Pixels, habits: Generator) -> _Pixels:
    """Return the shading of a round body that is lit from one side, the camera's habit."""
    height, width = cover.shape[:2]
    soft = Image.fromarray(_pixels(255 * cover[:, :, 0])).filter(ImageFilter.GaussianBlur(0.02 * height))
    body = np.asarray(soft, np.float32)[:, :, None] / np.float32(255)
    slope = np.roll(body, max(1, width // 24), 1) - np.roll(body, -max(1, width // 24), 1)
    shade = 0.35 * body - 0.3 + habits.choice([-0.3, 0.3]) * slope
    return np.asarray(1 + cover * shade, np.float32)


def _lamp(size: tuple[int, int], difficulty: float, rng: Generator) -> _Pixels:
    """Return the fall-off of an infrared camera's lamp around a bright spot."""
    x, y = np.linspace(-1, 1, size[1])[None, :, None], np.linspace(-1, 1, size[0])[:, None, None]
    right, down = 0.5 * difficulty * rng.uniform(-1, 1), 0.5 * difficulty * rng.uniform(-1, 1) - 0.3
    return (1.1 / (1 + 1.2 * difficulty * ((x - right) ** 2 + (y - down) ** 2))).astype(np.float32)


@lru_cache(maxsize=32)
def _scene(seed: int, camera: int, infrared: bool, size: tuple[int, int]) -> _Pixels:
    """Draw the background of a camera, (h, 4 w, 3)."""
    rng = default_rng((seed, 3, camera))  # for both modalities: one camera looks at one place
    height, width = size[0], 4 * size[1]

    def tone(low: float, high: float) -> tuple[int, int, int]:
        red, green, blue = map(int, _tint(rng.uniform(low, high), 0.25 * rng.random(), rng))
        return (green * 3 // 5,) * 3 if infrared else (red, green, blue)

    def across(low: float, high: float) -> int:
        return int(width * rng.uniform(low, high))

    picture = Image.new("RGB", (width, height), tone(120, 200))
    pen = ImageDraw.Draw(picture)
    horizon = int(height * rng.uniform(0.55, 0.75))
    for _ in range(14):  # windows, doors, posters
        x, y = across(-0.1, 1), int(rng.uniform(-0.3, 0.9) * horizon)
        pen.rectangle((x, y, x + across(0.02, 0.12), y + across(0.02, 0.2)), tone(60, 220))
    pen.rectangle((0, horizon, width, height), tone(80, 170))
    for row in range(4):  # the joints of the floor are closer together near the horizon
        y = horizon + (height - horizon) * row * row // 16
        pen.line((0, y, width, y), tone(60, 120), max(1, height // 144))
    for _ in range(10):  # trees, bins, boxes
        x, top = across(-0.05, 1), horizon - across(0.02, 0.12)
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((x, top, x + across(0.02, 0.06), horizon + height // 16), tone(50, 160))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(height / 150)), np.float32)


def _pixels(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
