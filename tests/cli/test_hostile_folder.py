"""A folder of a stranger: good files come out as they would alone, and each bad one costs itself and one line."""

import os
import tracemalloc
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from helpers.hostile_files import KINDS, Bait, clip, write_any_size_identity, write_hostile
from helpers.hostile_run import (
    lines_of,
    run_watched,
    tree,
    write_good,
    wrong_with_good,
    wrong_with_hostile,
    wrong_with_run,
)

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.image.files import read_image

ROOM_MIB = 700


@pytest.fixture
def visitors():
    """A web server, and who came."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            came.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], came
    server.shutdown()
    server.server_close()


def test_hostile_files_cost_themselves_and_nothing_else(tmp_path, visitors):
    port, came = visitors
    model = write_any_size_identity(tmp_path / "m.onnx")
    bait = Bait(tmp_path / "bait.ts", f"http://127.0.0.1:{port}/x.ts")
    bait.clip.write_bytes(clip(".ts"))
    os.utime(bait.clip, (0, 0))
    good = write_good(tmp_path / "good", 21)
    alone = run_watched(model, tmp_path / "good", tmp_path / "alone", limit_s=60)
    assert (alone.code, alone.stderr) == (0, "")

    source, out = tmp_path / "in", tmp_path / "out"
    write_good(source, 21)
    placed = write_hostile(source, 2, bait)
    assert len({kind for kind, _, _ in placed}) == len(KINDS) > 80
    before = tree(tmp_path)
    ran = run_watched(model, source, out, limit_s=120)
    assert not wrong_with_run(ran, out)
    assert not wrong_with_hostile(placed, source, out)
    assert not wrong_with_good(good, source, out, tmp_path / "alone")
    assert set(lines_of(out)) <= {*good, *(name for _, name, _ in placed)}
    assert {name: state for name, state in tree(tmp_path).items() if name.split("/")[0] != "out"} == before
    assert not came
    assert bait.clip.stat().st_atime == 0
    assert ran.peak_mib < ROOM_MIB


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tiff of 16 million strips", "says that it has 67,108,864 bytes"),
        ("tiff of 60 million depths", "holds 60,000,000 numbers"),
        ("tiff of a gibibyte of tags", "says that it has 67,108,864 bytes"),
    ],
)
def test_tags_that_lie_on_each_other_take_no_memory(tmp_path, kind, words):
    KINDS[kind].make(tmp_path / "a.tif", None, None)
    tracemalloc.start()
    try:
        with pytest.raises(ItemFailed, match=words):
            read_image(tmp_path / "a.tif")
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()
