"""Names that other programs make: whatever they are, each file is done or refused in a sentence."""

import json
import os

import pytest
from helpers.support import leftovers, make_clip, photo_crops, read_record

import p2p_deploy
from p2p_deploy.media.image.files import encode_image
from p2p_deploy.options import RunOptions

IMAGES = {
    b"-rf.png": "-rf.png",
    b"--overwrite.jpg": "--overwrite.png",
    b"CON.png": "CON.png",
    b"dots..png": "dots..png",
    b"new\nline.png": "new\nline.png",
    b"\x1b[31m\x7f.png": "\x1b[31m\x7f.png",
    b"not-utf8-\xff\xfe.jpg": "not-utf8-\udcff\udcfe.png",
    b"surrogate-\xed\xa0\x80.jpg": "surrogate-\udced\udca0\udc80.png",
    "é😀.jpg".encode(): "é😀.png",
    b"%s%d{}$HOME~`.png": "%s%d{}$HOME~`.png",
    b" .png": " .png",
    b"..\\up.png": None,  # hidden
    b"a\\b.png": "a\\b.png",
    b"C:x.png": "C:x.png",
    b"http:x.png": "http:x.png",
    b'"quoted".png': '"quoted".png',
    b"x" * 251 + b".png": "x" * 251 + ".png",
    b"y" * 250 + b".webp": "y" * 250 + ".png",
    b"trailing.png.": None,
    b"folder.png/inside.png": "folder.png/inside.png",
    b"\xfe\n/inside.png": "\udcfe\n/inside.png",
}
CLIPS = (b"-v.mp4", b"v\n%d.mp4", b"\xff.mp4", b"v" * 251 + b".mp4", b"http:x.mp4", b"concat:a|b.mp4")


def write(folder, name, data):
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def model(identity):
    with p2p_deploy.load(identity) as model:
        yield model


@pytest.fixture
def image():
    return encode_image(photo_crops(1, 32)[0], ".png")


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_pictures_of_any_name_are_done_and_the_record_knows_them_by_it(model, image, tmp_path):
    for name in IMAGES:
        write(tmp_path / "in", name, image)
    wanted = {os.fsdecode(name): output for name, output in IMAGES.items() if output}
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(recursive=True))
    assert summary.complete
    assert summary.done == len(wanted)
    assert files_below(tmp_path / "out") == {*wanted.values(), "p2p-run.jsonl"}
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out", "identity.onnx"}
    assert not leftovers(tmp_path / "out")
    assert (tmp_path / "out" / "p2p-run.jsonl").read_bytes().isascii()
    lines = {line["input"]: line["output"] for line in read_record(tmp_path / "out") if "input" in line}
    assert lines == {name: str(tmp_path / "out" / output) for name, output in wanted.items()}
    assert p2p_deploy.run(
        model, tmp_path / "in", tmp_path / "out", RunOptions(recursive=True, resume=True)
    ).skipped == len(wanted)


def test_clips_of_any_name_are_done(model, tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", photo_crops(4, 64)).read_bytes()
    for name in CLIPS:
        write(tmp_path / "in", name, clip)
    assert p2p_deploy.run(model, tmp_path / "in", tmp_path / "out").done == len(CLIPS)
    assert files_below(tmp_path / "out") == {*map(os.fsdecode, CLIPS), "p2p-run.jsonl"}
    assert not leftovers(tmp_path / "out")


def test_what_cannot_be_read_or_named_costs_only_itself(model, image, tmp_path):
    for name in (b"good.png", b"z" * 250 + b".jpg", b"z" * 250 + b".bmp"):  # both would be z….png
        write(tmp_path / "in", name, image)
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    (tmp_path / "in" / "dangling.png").symlink_to("nowhere.png")
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
    assert (summary.done, summary.failed) == (1, 4)
    assert files_below(tmp_path / "out") == {"good.png", "p2p-run.jsonl"}
    reasons = ("File name too long", "symbolic links", "No such file")
    assert all(any(reason in sentence for reason in reasons) for _, sentence in summary.errors)


def test_an_input_that_vanishes_before_its_turn_fails_and_one_that_appears_is_left_alone(model, image, tmp_path):
    for index in range(60):
        write(tmp_path / "in", b"%03d.png" % index, image)

    def change(now):
        (tmp_path / "in" / "055.png").unlink(missing_ok=True)
        write(tmp_path / "in", b"056x.png", image)
        write(tmp_path / "out", b"056x.png", b"precious")

    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=1), on_progress=change)
    assert (summary.done, summary.failed) == (59, 1)
    assert summary.errors[0][0] == "055.png"
    assert (tmp_path / "out" / "056x.png").read_bytes() == b"precious"


@pytest.mark.timeout(60)
def test_inputs_that_become_pipes_before_their_turn_are_not_waited_for(model, image, tmp_path):
    for index in range(60):
        write(tmp_path / "in", b"%03d.png" % index, image)
    last = [tmp_path / "in" / name for name in ("055.png", "x.tif", "y.mp4")]
    for path in last:
        path.write_bytes(image)

    def change(now):
        for path in last:
            if path.is_file():
                path.unlink()
                os.mkfifo(path)

    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=1), on_progress=change)
    assert (summary.done, summary.failed) == (59, 3)
    assert dict(summary.errors)["y.mp4"].endswith("y.mp4 is a folder, a pipe or a device; expected a file.")


def test_the_record_and_the_summary_say_which_outputs_gave_way(model, image, tmp_path):
    for name in (b"a.png", b"a.bmp", b"b.png"):
        write(tmp_path / "in", name, image)
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
    lines = {line["input"]: line["notes"] for line in map(json.loads, (tmp_path / "out" / "p2p-run.jsonl").open())
             if "input" in line}  # fmt: skip
    assert lines["a.bmp"] == ["named a.bmp.png, because a.png has the same name without suffix"]
    assert lines["b.png"] == []
    assert summary.notes["named otherwise, because two inputs would have got one name"] == 2
