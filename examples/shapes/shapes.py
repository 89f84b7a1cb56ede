"""Draws pictures of coloured shapes, and writes captions.csv: two captions for each of them."""

import itertools
import random
from pathlib import Path

from PIL import Image, ImageDraw

COUNT, SIZE = 400, 64  # pictures; pixels
COLOURS = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f77b4", "yellow": "#f2c80f"}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 7, "large": 13}
HEIGHTS, SIDES = {"top": 16, "bottom": 47}, {"left": 16, "right": 47}
FOLDER = Path(__file__).parent


def draw(canvas: ImageDraw.ImageDraw, shape: str, colour: str, x: int, y: int, r: int) -> None:
    """A shape around a point."""
    box = (x - r, y - r, x + r, y + r)
    if shape == "circle":
        canvas.ellipse(box, colour)
    elif shape == "square":
        canvas.rectangle(box, colour)
    elif shape == "triangle":
        canvas.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], colour)
    else:
        canvas.line((x - r, y, x + r, y), colour, r // 2)
        canvas.line((x, y - r, x, y + r), colour, r // 2)


def main() -> None:
    """Write the pictures and the table beside this file."""
    random.seed(0)
    (FOLDER / "pictures").mkdir(exist_ok=True)
    kinds = [*itertools.product(SIZES, COLOURS, SHAPES, HEIGHTS, SIDES)]
    rows = ["picture,caption"]
    for number in range(COUNT):
        size, colour, shape, height, side = random.choice(kinds)
        picture = Image.new("RGB", (SIZE, SIZE), random.choice(["white", "#eeeeee", "#dddddd"]))
        x, y = (place + random.randint(-3, 3) for place in (SIDES[side], HEIGHTS[height]))
        radius = SIZES[size] + random.randint(-1, 1)
        draw(ImageDraw.Draw(picture), shape, COLOURS[colour], x, y, radius)
        name, what = f"{number:03}.png", f"a {size} {colour} {shape}"
        picture.quantize(16).save(FOLDER / "pictures" / name, optimize=True)
        rows += [
            f"{name},{what} at the {height} {side}",
            f"{name},at the {height} {side} is {what}",
        ]
    (FOLDER / "captions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
