"""Pictures: photos where there are some; scenes, people and texts drawn here. Same seed, same pixels."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tests.zoo.words import sentence, word

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / os.environ.get("PTQ_ASSETS", "../shared") / "data" / "imagenet_sample"
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic", "STIXGeneral")


def photos(generator: np.random.Generator, count: int, height: int, width: int | None = None) -> Pixels:
    """So many different photos, RGB, (count, height, width, 3): those of ``PTQ_ASSETS``, else scenes drawn here."""
    width = width or height
    files = sorted(PHOTOS.glob("*/*.JPEG"))
    if len(files) < count:
        return scenes(generator, count, height, width)
    chosen = generator.permutation(len(files))[:count]
    return np.stack([_cropped(_read(str(files[number])), height, width) for number in chosen])


@cache
def _read(path: str) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def _cropped(image: Pixels, height: int, width: int) -> Pixels:
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


def scenes(generator: np.random.Generator, count: int, height: int, width: int) -> Pixels:
    """Gradients, ellipses and polygons under soft noise, RGB, (count, height, width, 3)."""
    return np.stack([_scene(generator, height, width) for _ in range(count)])


def _scene(generator: np.random.Generator, height: int, width: int) -> Pixels:
    image = _gradient(generator, height, width)
    for _ in range(generator.integers(3, 9)):
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        centre = int(generator.integers(width)), int(generator.integers(height))
        axes = (
            int(generator.integers(width // 20 + 1, width // 3)),
            int(generator.integers(height // 20 + 1, height // 3)),
        )
        if generator.random() < 0.5:
            cv2.ellipse(image, centre, axes, float(generator.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = np.array(centre) + generator.integers(-width // 3, width // 3, (4, 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    return _grained(generator, image)


def portraits(generator: np.random.Generator, count: int, size: int, zoom: float = 1.0) -> Pixels:
    """Heads with eyes, nose and mouth over shoulders, RGB, (count, size, size, 3); ``zoom`` 2 fills the picture."""
    return np.stack([_portrait(generator, size, zoom) for _ in range(count)])


def _portrait(generator: np.random.Generator, size: int, zoom: float) -> Pixels:
    image = _gradient(generator, size, size)
    skin = generator.uniform((120, 80, 60), (245, 210, 190))
    unit = size * zoom * generator.uniform(0.16, 0.22)
    x, y = (size * 0.5 + generator.normal(0, size * 0.04) for _ in range(2))

    def oval(dx: float, dy: float, wide: float, high: float, colour: object) -> None:
        centre = int(x + dx * unit), int(y + dy * unit)
        shade = tuple(float(value) for value in np.clip(np.asarray(colour), 0, 255))
        cv2.ellipse(
            image, centre, (max(1, int(wide * unit)), max(1, int(high * unit))), 0, 0, 360, shade, -1, cv2.LINE_AA
        )

    clothes, hair = generator.uniform(20, 220, 3), generator.uniform(10, 120) * np.array([1, 0.8, 0.6])
    oval(0, 3.2, 2.4, 1.9, clothes)
    oval(0, 1.4, 0.45, 0.7, skin * 0.85)
    oval(0, -0.25, 1.12, 1.4, hair)
    oval(0, 0, 0.95, 1.25, skin)
    for side in (-1, 1):
        oval(side * 0.38, -0.2, 0.2, 0.1, (240, 240, 240))
        oval(side * 0.38, -0.2, 0.08, 0.09, generator.uniform(10, 110, 3))
        oval(side * 0.38, -0.42, 0.24, 0.05, hair)
    oval(0, 0.2, 0.12, 0.25, skin * 0.88)
    oval(0, 0.62, 0.32, generator.uniform(0.06, 0.2), skin * np.array([0.85, 0.5, 0.5]))
    return _grained(generator, cv2.GaussianBlur(image, (0, 0), size / 250))


def hands(generator: np.random.Generator, count: int, size: int) -> Pixels:
    """A palm with five fingers, turned, RGB, (count, size, size, 3)."""
    return np.stack([_hand(generator, size) for _ in range(count)])


def _hand(generator: np.random.Generator, size: int) -> Pixels:
    image, skin = _gradient(generator, size, size), generator.uniform((120, 80, 60), (245, 210, 190))
    shade = tuple(float(value) for value in skin)
    centre, turn = np.array([0.5, 0.58]) * size, generator.normal(0, 0.4)
    for finger, angle in enumerate((-1.1, -0.4, -0.1, 0.2, 0.5)):
        length = size * generator.uniform(0.26, 0.36) * (0.75 if finger == 0 else 1.0)
        direction = np.array([np.sin(angle + turn), -np.cos(angle + turn)])
        start, end = centre + direction * size * 0.08, centre + direction * (length + size * 0.08)
        cv2.line(image, _point(start), _point(end), shade, size // 16, cv2.LINE_AA)
        cv2.circle(image, _point(end), size // 32, tuple(float(value) for value in skin * 0.92), -1, cv2.LINE_AA)
    cv2.ellipse(image, _point(centre), (size // 7, size // 6), 0, 0, 360, shade, -1, cv2.LINE_AA)
    cv2.line(image, _point(centre), _point(centre + np.array([0, size / 2])), shade, size // 6, cv2.LINE_AA)
    return _grained(generator, cv2.GaussianBlur(image, (0, 0), size / 200))


def people(generator: np.random.Generator, count: int, size: int) -> Pixels:
    """Standing figures, RGB, (count, size, size, 3)."""
    return np.stack([_person(generator, size) for _ in range(count)])


def _person(generator: np.random.Generator, size: int) -> Pixels:
    image = _gradient(generator, size, size)
    skin, shirt, trousers = (tuple(map(float, generator.uniform(30, 240, 3))) for _ in range(3))
    x, thick = size * generator.uniform(0.42, 0.58), size // 14

    def at(dx: float, dy: float) -> tuple[int, int]:
        return _point(np.array([x + dx * size, dy * size]))

    for side in (-1, 1):
        elbow = side * generator.uniform(0.13, 0.22), generator.uniform(0.35, 0.45)
        hand = elbow[0] + side * generator.uniform(-0.05, 0.12), elbow[1] + generator.uniform(-0.16, 0.16)
        cv2.line(image, at(side * 0.08, 0.27), at(*elbow), shirt, thick, cv2.LINE_AA)
        cv2.line(image, at(*elbow), at(*hand), skin, thick * 2 // 3, cv2.LINE_AA)
        knee = side * generator.uniform(0.05, 0.12), 0.72
        cv2.line(image, at(side * 0.05, 0.53), at(*knee), trousers, thick, cv2.LINE_AA)
        cv2.line(image, at(*knee), at(side * generator.uniform(0.04, 0.12), 0.93), trousers, thick, cv2.LINE_AA)
    cv2.line(image, at(0, 0.3), at(0, 0.52), shirt, size // 6, cv2.LINE_AA)
    cv2.circle(image, at(0, 0.15), size // 14, skin, -1, cv2.LINE_AA)
    return _grained(generator, cv2.GaussianBlur(image, (0, 0), size / 250))


def lines(generator: np.random.Generator, count: int, height: int, width: int) -> Pixels:
    """Lines of text, dark on light or light on dark, RGB, (count, height, width, 3)."""
    return np.stack([_line(generator, height, width) for _ in range(count)])


def _line(generator: np.random.Generator, height: int, width: int) -> Pixels:
    back, ink = _contrast(generator)
    image = Image.new("RGB", (width, height), back)
    font = _font(generator, height * generator.uniform(0.5, 0.78))
    text = word(generator)
    while font.getlength(longer := f"{text} {word(generator)}") < width * 0.95:
        text = longer
    ImageDraw.Draw(image).text((width * 0.02, height * 0.08), text, fill=ink, font=font)
    return _grained(generator, np.array(image))


def pages(generator: np.random.Generator, count: int, height: int, width: int) -> Pixels:
    """Pages with a title, paragraphs, a ruled table and a picture, RGB, (count, height, width, 3)."""
    return np.stack([_page(generator, height, width) for _ in range(count)])


def _page(generator: np.random.Generator, height: int, width: int) -> Pixels:
    image = Image.new("RGB", (width, height), tuple(int(value) for value in generator.integers(225, 256, 3)))
    draw, margin, ink = ImageDraw.Draw(image), width // 16, tuple(int(value) for value in generator.integers(0, 90, 3))
    size = width / generator.uniform(24, 34)
    draw.text((margin, margin), sentence(generator)[:28], fill=ink, font=_font(generator, size * 1.7))
    y, body = margin + 3 * size, _font(generator, size)
    while y < height - margin - size:
        kind = generator.random()
        if kind < 0.1 and y < height * 0.7:
            patch = Image.fromarray(_scene(generator, int(6 * size), int(10 * size)))
            image.paste(patch, (margin, int(y)))
            y += 7 * size
        elif kind < 0.2 and y < height * 0.7:
            for row in range(5):
                draw.line((margin, y + row * 1.5 * size, width - margin, y + row * 1.5 * size), fill=ink, width=1)
                draw.text(
                    (margin + 4, y + row * 1.5 * size), f"{word(generator)}   {word(generator)}", fill=ink, font=body
                )
            y += 8.5 * size
        else:
            draw.text((margin, y), sentence(generator)[: int(1.7 * (width - 2 * margin) / size)], fill=ink, font=body)
            y += size * (1.35 if generator.random() < 0.8 else 2.4)
    return _grained(generator, np.array(image))


def _font(generator: np.random.Generator, size: float) -> ImageFont.FreeTypeFont:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{FONTS[generator.integers(len(FONTS))]}.ttf", max(6, int(size)))


def _contrast(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    light, dark = generator.integers(190, 256, 3), generator.integers(0, 80, 3)
    back, ink = (light, dark) if generator.random() < 0.75 else (dark, light)
    return tuple(int(value) for value in back), tuple(int(value) for value in ink)


def _gradient(generator: np.random.Generator, height: int, width: int) -> Pixels:
    corners = generator.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _grained(generator: np.random.Generator, image: NDArray[Any]) -> Pixels:
    noise = generator.normal(0, generator.uniform(1, 8), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _point(place: NDArray[np.floating]) -> tuple[int, int]:
    return int(place[0]), int(place[1])
