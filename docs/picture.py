"""Makes the picture of the READMEs of what `make demo` left in demo-out/: `python -m docs.picture [FOLDER]`.

Left the photo, in the middle what the bot understood of the mask, right the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).with_name("example.jpg")
SIDE, GAP = 400, 8  # pixels
PANES = ("photo.png", "*-mask-*.png", "*-inpaint-*.png")


def newest(folder: Path, pattern: str) -> Path:
    """Of several demos' files the last one's."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def picture(folder: Path) -> Image.Image:
    """The three side by side."""
    row = Image.new("RGB", (len(PANES) * (SIDE + GAP) - GAP, SIDE), "white")
    for number, pattern in enumerate(PANES):
        with Image.open(newest(folder, pattern)) as pane:
            shown = pane.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        row.paste(shown, (number * (SIDE + GAP), 0))
    return row


if __name__ == "__main__":
    picture(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")).save(TARGET, quality=88)
