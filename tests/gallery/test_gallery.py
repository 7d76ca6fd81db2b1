"""The page about a run: what is on it, and that names of files cannot take it over.

What a browser makes of it is checked by ``benchmarks/gallery_in_browser.py``.
"""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from helpers.clips import nearest, write_clip
from helpers.networks import write_identity
from helpers.support import imwrite, leftovers, make_clip, photo, photo_crops, write_images

import p2p_deploy
from p2p_deploy import gallery
from p2p_deploy.errors import InputError, OutputError
from p2p_deploy.gallery import write_gallery
from p2p_deploy.gallery.account import read_account
from p2p_deploy.media.image import files
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec import ImageSpec, ModelSpec

HOSTILE = ('"><script>alert(1)</script>.png', "new\nline.png", "not-utf8-\udcff.png", "$style ' & &lt; \u202e.png")


class Page(HTMLParser):
    """Elements with their attributes, and the text in them, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.inside: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "path", "rect"):
            self.inside.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.inside[-1], data.strip()))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def cards(self):
        return [button for button in self.all("button") if "data-after" in button]

    @property
    def text(self):
        return " ".join(text for tag, text in self.texts if tag not in ("style", "script"))

    @property
    def names(self):
        return [button["title"] for button in self.all("b") if "title" in button]


def record(folder, *lines, summary=None):
    """Add lines to a record; what they leave out is as it would be for a picture that is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "p2p-run.jsonl").open("a") as file:
        for line in lines:
            file.write(json.dumps({"status": "done", "frames": 1, "notes": [], "error": None, **line}) + "\n")
        if summary is not None:
            file.write(json.dumps({"summary": summary}) + "\n")


def inverted(folder, frames, names=None, **summary):
    """Inputs, as outputs their negatives, and the record of it."""
    source, out = folder / "in", folder / "out"
    names = names or [f"{index:03d}.png" for index in range(len(frames))]
    lines = []
    for name, frame in zip(names, frames, strict=True):
        for place, image in ((source, frame), (out, 255 - frame)):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(files.encode_image(image, ".png"))
        lines.append({"input": name, "output": str(out / name)})
    record(out, *lines, summary={"inputs_total": len(lines), "done": len(lines), **summary})
    return source, out


def opened(source, out, **options):
    return Page(write_gallery(source, out, **options).read_text(encoding="utf-8"))


def picture(uri):
    """The pixels in a data URI: (H, W, 3) or, with transparency, (H, W, 4)."""
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/jpeg", "data:image/webp")
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def test_a_real_run_gets_a_page_with_its_pictures_its_figures_and_its_failures(tmp_path):
    source = tmp_path / "in"
    write_images(source, photo_crops(3, 40))
    make_clip(source / "clip.mp4", photo_crops(9, 64))
    (source / "broken.jpg").write_bytes(b"no picture")
    with p2p_deploy.load(write_identity(tmp_path / "m.onnx"), LoadOptions(device="cpu")) as model:
        summary = p2p_deploy.run(model, source, tmp_path / "out")
        page = opened(source, tmp_path / "out", spec=model.spec)
    assert page.names == ["000.png", "001.png", "002.png", "clip.mp4"]
    assert summary.done == len(page.cards)
    for words in ("identity", "4 of 5", "4 outputs", "32 × 32", "resized to 32x32 and back", "9 frames, at 0.2 s"):
        assert words in page.text, words
    assert "1 failed or incomplete" in page.text
    assert f"broken.jpg failed {source}/broken.jpg is damaged" in page.text
    assert not leftovers(tmp_path / "out")


def test_before_is_the_input_and_after_the_output(tmp_path):
    crops = photo_crops(2, 200)
    page = opened(*inverted(tmp_path, crops))
    for card, crop, image in zip(page.cards, crops, page.all("img"), strict=False):
        assert cv2.PSNR(picture(card["data-before"]), crop) > 27
        assert cv2.PSNR(picture(card["data-after"]), 255 - crop) > 27
        assert (card["data-width"], card["data-height"]) == ("200", "200")
        small = picture(image["src"])
        assert small.shape == (150, 200, 3)
        assert cv2.PSNR(np.ascontiguousarray(small[:, :96]), np.ascontiguousarray(crop[25:175, :96])) > 24
        assert cv2.PSNR(np.ascontiguousarray(small[:, 104:]), np.ascontiguousarray(255 - crop[25:175, 104:])) > 24


def test_names_are_text_whatever_they_are(tmp_path):
    source, out = inverted(tmp_path, photo_crops(len(HOSTILE), 16), [*HOSTILE])
    record(
        out,
        *({"input": f"failed {name}", "status": "failed", "error": f"{name} is empty"} for name in HOSTILE),
        summary={"skipped": len(HOSTILE), "notes": {HOSTILE[0]: 2}, HOSTILE[0]: {HOSTILE[0]: 1}},
    )
    shutil.rmtree(source / HOSTILE[0].split("/")[0])  # the part before a slash is a folder
    path = write_gallery(source, out, spec=replace(_spec(), name=HOSTILE[0]))
    page = Page(path.read_bytes().decode("utf-8", errors="strict"))
    assert len(page.all("script")) == len(page.all("style")) == 1
    seen = [name.replace("\n", "\\n").replace("\udcff", "\\udcff").replace("\u202e", "\\u202e") for name in HOSTILE]
    assert sorted(page.names) == sorted(seen)
    for name in seen:
        assert f"{name} is empty" in page.text
    handlers = [key for _, attributes in page.elements for key in attributes if key.startswith("on") or key == "style"]
    assert not handlers


def test_nothing_on_the_page_leads_anywhere_and_only_its_own_script_may_run(tmp_path):
    page = opened(*inverted(tmp_path, photo_crops(2, 16)))
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "poster", "data-before", "data-after"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), attributes
    style, script = (next(text for tag, text in page.texts if tag == kind) for kind in ("style", "script"))
    for text in (style, script):
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttp|innerHTML|eval", text)
    policy = dict(
        part.strip().split(" ", 1)
        for part in next(
            meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        ).split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    for kind, text in (("style-src", style), ("script-src", script)):
        whole = text + "\n"  # as it stands between the tags
        assert policy[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(whole.encode()).digest()).decode()}'"


def test_a_long_run_is_sampled_evenly_and_always_the_same_way(tmp_path):
    count = 10_000
    record(tmp_path, *({"input": f"{index:05d}", "output": f"{index}.png"} for index in range(count)))
    found = read_account(tmp_path / "p2p-run.jsonl", 60)
    assert found == read_account(tmp_path / "p2p-run.jsonl", 60)
    assert len(found.sample) == 60
    assert found.total == count
    steps = np.diff([int(entry.name) for entry in found.sample])
    assert min(steps) >= 128
    assert max(steps) <= 256
    assert int(found.sample[-1].name) > count - 256


def test_the_page_stays_small_whatever_the_pictures_are(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 900, 3), np.uint8)
    source, out = inverted(tmp_path, [noise])
    lines = []
    for index in range(500):
        for place in (source, out):
            (place / f"{index}.png").symlink_to(place / "000.png")
        lines.append({"input": f"{index}.png", "output": str(out / f"{index}.png")})
    record(out, *lines, summary={"done": 500})
    monkeypatch.setattr(gallery, "PAGE_BYTES", 3_000_000)  # a budget that is reached as easily by fewer pixels
    path = write_gallery(source, out, limit=20)
    page = Page(path.read_text())
    assert "Shown are 20 of 500 outputs" in page.text
    assert len(page.cards) == 20
    assert 1_000_000 < path.stat().st_size < 3_100_000
    for card in page.cards:
        assert picture(card["data-before"]).shape == picture(card["data-after"]).shape


def test_large_pictures_are_made_smaller_and_small_ones_are_left(tmp_path):
    large = cv2.resize(photo("coffee.png"), (2400, 1600))
    page = opened(*inverted(tmp_path, [large, photo_crops(1, 16)[0]]))
    assert picture(page.cards[0]["data-after"]).shape == (683, 1024, 3)
    assert picture(page.all("img")[0]["src"]).shape == (300, 400, 3)
    assert picture(page.cards[1]["data-after"]).shape == (16, 16, 3)
    assert "2400 × 1600" in page.text


def test_the_last_line_about_an_input_counts(tmp_path):
    source, out = inverted(tmp_path, photo_crops(3, 16))
    record(
        out,
        {"input": "000.png", "status": "failed", "error": "it broke", "output": None},
        {"input": "x.png", "status": "failed", "error": "not yet", "output": None},
        {"input": "y.png", "status": "failed", "error": "not yet", "output": None},
        {"input": "clip.mp4", "status": "interrupted", "error": "was not finished", "output": None},
        summary={"inputs_total": 6, "skipped": 2, "failed": 3, "interrupted": True},
    )
    record(
        out,
        {"input": "x.png", "output": str(out / "001.png"), "status": "partial", "error": "ends early"},
        {"input": "y.png", "output": str(out / "002.png")},
        summary={"inputs_total": 6, "skipped": 2, "done": 1, "partial": 1, "failed": 1},
    )
    page = opened(source, out)
    assert page.names == ["001.png", "002.png", "x.png", "y.png"]
    assert "000.png failed it broke" in page.text
    assert "x.png incomplete ends early" in page.text
    assert "not yet" not in page.text
    assert "clip.mp4 interrupted was not finished" in page.text
    assert "3 failed or incomplete" in page.text
    assert "ends early" in page.cards[2]["data-notes"]


def test_earlier_runs_over_other_inputs_are_not_shown(tmp_path):
    source, out = inverted(tmp_path, photo_crops(2, 16), ["old0.png", "old1.png"])
    inverted(tmp_path, photo_crops(1, 16), ["new.png"])
    assert opened(source, out).names == ["new.png"]


def test_at_most_a_hundred_failures_are_listed_and_all_are_counted(tmp_path):
    lines = [{"input": f"{i}.png", "status": "failed", "error": f"sentence {i}.", "output": None} for i in range(250)]
    record(tmp_path / "out", *lines, summary={"inputs_total": 250, "failed": 250})
    page = opened(tmp_path, tmp_path / "out")
    assert len(re.findall(r"sentence \d+\.", page.text)) == 100
    assert "250 failed or incomplete" in page.text
    assert "And 150 more" in page.text
    assert "0 outputs" in page.text


def test_an_input_that_is_gone_or_damaged_leaves_the_output_and_an_output_that_is_gone_leaves_nothing(tmp_path):
    source, out = inverted(tmp_path, photo_crops(4, 16))
    (source / "000.png").unlink()
    (source / "001.png").write_bytes(b"overwritten since")
    (out / "002.png").unlink()
    page = opened(source, out)
    assert page.names == ["000.png", "001.png", "003.png"]
    assert ["data-before" in card for card in page.cards] == [False, False, True]
    assert "output only" in page.cards[0]["data-notes"]
    assert "1 cannot be read any more" in page.text
    shutil.rmtree(source)
    assert ["data-before" in card for card in opened(source, out).cards] == [False, False, False]


def test_a_record_that_was_tampered_with_shows_nothing_from_elsewhere(tmp_path):
    source, out = inverted(tmp_path, photo_crops(1, 16))
    secret = imwrite(tmp_path / "secret.png", photo_crops(1, 16)[0])
    record(
        out,
        {"input": "a", "output": str(secret)},
        {"input": "b", "output": str(out / ".." / "secret.png")},
        {"input": "c", "output": "zero\0byte"},
        {"input": str(secret), "output": str(out / "000.png")},
        {"input": ["no text"], "output": str(out / "000.png")},
        {"input": "d", "output": 7, "notes": 3, "frames": "many", "status": "done"},
    )
    with (out / "p2p-run.jsonl").open("ab") as file:
        file.write(b'[]\n\xff\xfe\nnull\n{"summary": 3}\n{"input": "half')
    page = opened(source, out)
    assert page.names == [str(secret), "000.png"]
    assert ["data-before" in card for card in page.cards] == [False, True]


def clip_pair(folder, suffix, frames):
    """A clip with a key frame every 20 frames, its negative with one at the start only, and the record."""
    name, out = f"clip{suffix}", folder / "out"
    out.mkdir(parents=True)
    write_clip(folder / name, frames, key_every=20)
    write_clip(out / name, 255 - frames, key_every=250)
    record(out, {"input": name, "output": str(out / name), "frames": len(frames)}, summary={"done": 1})
    return folder / name, out


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv"])
def test_a_clip_is_shown_by_the_same_frame_in_the_middle_of_both(tmp_path, suffix):
    frames = photo_crops(50, 64)
    source, out = clip_pair(tmp_path, suffix, frames)
    page = opened(source, out)
    (card,) = page.cards
    assert nearest(picture(card["data-before"]), frames) == 25
    assert nearest(picture(card["data-after"]), 255 - frames) == 25
    assert "50 frames, at 1.0 s" in page.text
    source.unlink()
    (card,) = opened(source, out).cards
    assert "data-before" not in card
    assert nearest(picture(card["data-after"]), 255 - frames) == 25


def test_clips_whose_frames_are_at_other_times_are_shown_by_their_first_ones(tmp_path):
    frames = photo_crops(50, 64)
    source, out = clip_pair(tmp_path, ".mp4", frames)
    make_clip(out / "clip.mp4", 255 - frames, pts=[index * 2 for index in range(50)])
    (card,) = opened(source, out).cards
    assert nearest(picture(card["data-before"]), frames) == 0
    assert nearest(picture(card["data-after"]), 255 - frames) == 0


def test_transparency_and_depth_survive_as_far_as_a_page_can_hold_them(tmp_path, monkeypatch):
    source, out = inverted(tmp_path, photo_crops(1, 64))
    deep = photo_crops(1, 64, seed=1)[0].astype(np.uint16) * 257
    for place in (source, out):
        imwrite(place / "deep.png", deep)
    record(out, {"input": "deep.png", "output": str(out / "deep.png")})
    alpha = np.full((64, 64, 1), 255, np.uint8)
    alpha[:32] = 0
    decode = files.ImageSource.decode

    def with_alpha(self, item):
        frame, image = decode(self, item)
        return replace(frame, alpha=alpha if self.path.parent == out and self.path.name == "000.png" else None), image

    monkeypatch.setattr(files.ImageSource, "decode", with_alpha)
    cards = opened(source, out).cards
    assert picture(cards[0]["data-before"]).shape == (64, 64, 3)
    assert (picture(cards[0]["data-after"])[:, :, 3] == alpha[:, :, 0]).mean() > 0.95
    assert cv2.PSNR(picture(cards[1]["data-before"]), cv2.cvtColor((deep // 257).astype(np.uint8), 4)) > 25


def _spec(**changes):
    image = ImageSpec.for_channels(3)
    return ModelSpec("named", "identity", {}, (image,), image, 1, 1, (16, 16), **changes)


def test_maps_of_labels_are_shown_in_colours(tmp_path):
    labels = np.zeros((32, 32), np.uint8)
    labels[:16, 16:], labels[16:, :16], labels[16:, 16:] = 1, 2, 3
    source, out = inverted(tmp_path, photo_crops(1, 32))
    imwrite(source / "000.png", labels)
    spec = replace(_spec(), inputs=(ImageSpec.for_labels(4),))
    colours = picture(opened(source, out, spec=spec).cards[0]["data-before"])
    halves = (np.s_[2:14], np.s_[18:30])
    means = [colours[rows, columns].mean(axis=(0, 1)) for rows in halves for columns in halves]
    for index, mean in enumerate(means):
        assert all(np.abs(mean - other).max() > 60 for other in means[:index])


def test_figures_of_the_run_and_where_its_time_went(tmp_path):
    figures = {"inputs_total": 5000, "done": 4000, "skipped": 1000, "frames_per_second": 1234.4, "seconds": 75.2}
    times = {"seconds_by_stage": {"decode": 2.5, "network": 10, "encode": float("nan"), "rest": "unknown"}}
    page = opened(
        *inverted(tmp_path, photo_crops(1, 16), model_size=[256, 512], notes={"odd": "x"}, **figures, **times)
    )
    for words in (
        *("inputs done 5,000", "images a second 1,234", "wall time 1 min 15 s", "model size 256 × 512"),
        "seconds by stage decode 2.5 network 10",
    ):
        assert words in page.text, words
    assert "encode" not in page.text.partition("seconds by stage")[2]
    assert [rect["width"] for rect in page.all("rect")] == ["25.00", "100.00"]


def test_it_needs_a_record_and_a_place_to_write_to(tmp_path):
    with pytest.raises(InputError, match=r"p2p-run\.jsonl cannot be read: No such file"):
        write_gallery(tmp_path, tmp_path)
    source, out = inverted(tmp_path, photo_crops(1, 16))
    (out / "gallery.html").mkdir()
    with pytest.raises(OutputError, match=r"gallery\.html cannot be written"):
        write_gallery(source, out)
    assert write_gallery(source, out, path=tmp_path / "elsewhere.html").stat().st_size > 10_000
    assert not leftovers(out)
