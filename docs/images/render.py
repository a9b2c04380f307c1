"""Make the picture of the README from a report: its first timeline, cut to what is drawn.

    python docs/images/render.py pro_ros_demo/results/report.html docs/images/timeline.png

Needs Chromium (or Chrome) and pillow. ``--minutes 5 12`` zooms to a stretch.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

ONLY_TIMELINES = """<style>
nav, header, section { display: none !important; }
#timelines { display: block !important; border: 0 !important; margin: 0 !important; }
#timelines > p, #timelines > h2, #timelines article p, #timelines article h3 { display: none; }
#timelines article ~ article { display: none; }
</style></head>"""

ZOOM = """<script>setTimeout(function () {{
  Plotly.relayout(document.querySelector("#timelines .plot"), {{"xaxis.range": [{0}, {1}]}});
}}, 1500);</script></body>"""

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1", "--window-size=1200,900",
    "--virtual-time-budget=10000",
)  # fmt: skip

COLOURS = 128
"""Enough for flat lines and text, and a quarter of the size."""


def main() -> None:
    """Render, crop, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--minutes", type=float, nargs=2, help="stretch of the timeline")
    parser.add_argument("--browser", default="chromium")
    given = parser.parse_args()
    page = given.report.read_text(encoding="utf-8").replace("</head>", ONLY_TIMELINES, 1)
    if given.minutes:
        head, _, tail = page.rpartition("</body>")
        page = head + ZOOM.format(*given.minutes) + tail
    with tempfile.TemporaryDirectory() as folder:
        shown, shot = Path(folder, "report.html"), Path(folder, "shot.png")
        shown.write_text(page, encoding="utf-8")
        command = [given.browser, *FLAGS, f"--screenshot={shot}", shown.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(shot) as image:
            whole = image.convert("RGB")
    blank = Image.new("RGB", whole.size, whole.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(whole, blank).getbbox() or (0, 0, 1, 1)
    edge = 12
    box = (
        max(0, left - edge),
        max(0, top - edge),
        min(whole.width, right + edge),
        min(whole.height, bottom + edge),
    )
    whole.crop(box).quantize(COLOURS).save(given.picture, optimize=True)
    print(f"{given.picture}: {given.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
