"""The demo's page: one HTML file with the pictures embedded; the clips are linked."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from p2p_deploy import pixels
from p2p_deploy.demo.clips import middle_frame
from p2p_deploy.demo.photos import HELD_OUT_PHOTOS
from p2p_deploy.demo.report import DemoReport
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.pixels import Pixels

WIDTH = 640  # of a picture on the page, pixels, at most
DETAIL = (240, 320)  # height and width of what is shown pixel for pixel, from the middle

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>p2p-deploy demo</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1040px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16181c; color: #ddd }} }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2rem }}
figure {{ margin: 0 0 1.2rem }} figcaption {{ font-size: .9rem; color: #888; margin-bottom: .25rem }}
figcaption b {{ background: #ffe08a; color: #222; padding: 0 .4em; border-radius: 3px }}
.pictures {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px }} .pictures img {{ width: 100% }}
.clips {{ display: grid; grid-template-columns: 1fr 1fr; gap: 6px }} video {{ width: 100% }}
table {{ border-collapse: collapse }} td {{ padding: .15rem 1rem .15rem 0; vertical-align: top }}
</style>
<h1>Colouring, trained just now</h1>
<p>A pix2pix U-Net was trained on crops of 128 x 128 pixels out of a few photographs for {steps} steps, exported to ONNX
for any size, and run over whole photographs at their own resolution. It has seen very little for a very short time;
what it shows is that every step from pictures to pictures works on this machine.</p>
<h2>Grey input, output, original; below each its middle, pixel for pixel</h2>
{photos}
<h2>The clip: source and output</h2>
<div class="clips">{clips}</div>
<h2>Figures</h2>
<table>{figures}</table>
<h2>Files</h2>
<table>{files}</table>
</html>
"""


def write_page(report: DemoReport) -> Path:
    """Write ``index.html`` into the demo's folder and return its path."""
    page = report.folder / "index.html"
    clips = "".join(
        f'<video controls loop poster="{_embed(_whole(middle_frame(report.folder / side / report.clip)))}" '
        f'src="{side}/{html.escape(report.clip)}"></video>'
        for side in ("input", "output")
    )
    text = _PAGE.format(
        steps=report.steps,
        photos="\n".join(_photo(report, name) for name in report.errors),
        clips=clips,
        figures=_table(report.lines()),
        files=_table([(str(path), note) for path, note in report.files()]),
    )
    page.write_text(text, encoding="utf-8")
    return page


def _photo(report: DemoReport, name: str) -> str:
    mark = " <b>held out: never seen in training</b>" if name in HELD_OUT_PHOTOS else ""
    kinds = {"grey input": "input/grey", "output": "output/grey", "original": "input/colour"}
    images = {what: read_image(report.folder / path / f"{name}.png")[0] for what, path in kinds.items()}
    pictures = "".join(
        f'<img alt="{html.escape(name)}, {what}{which}" src="{_embed(show(image))}">'
        for which, show in (("", _whole), (", detail", _middle))
        for what, image in images.items()
    )
    caption = f"{html.escape(name)}{mark} &middot; L1 on fresh crops {html.escape(str(report.errors[name]))}"
    return f'<figure><figcaption>{caption}</figcaption><div class="pictures">{pictures}</div></figure>'


def _whole(image_HWC: Pixels) -> Pixels:
    height, width = image_HWC.shape[:2]
    return pixels.resize(image_HWC, max(1, round(height * WIDTH / width)), WIDTH) if width > WIDTH else image_HWC


def _middle(image_HWC: Pixels) -> Pixels:
    top, left = (max(0, (side - wanted) // 2) for side, wanted in zip(image_HWC.shape, DETAIL, strict=False))
    return image_HWC[top : top + DETAIL[0], left : left + DETAIL[1]]


def _embed(image_HWC: Pixels) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(image_HWC, ".jpg")).decode()


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in rows)
