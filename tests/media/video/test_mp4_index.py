"""What the index of an MP4 file announces is counted before FFmpeg makes room for it."""

import re
import struct
import subprocess
import sys

import pytest
from helpers.clips import copy_packets
from helpers.hostile_files import clip, countless_samples
from helpers.support import ROOT, make_clip, photo_crops

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import open_source
from p2p_deploy.media.video.mp4_index import MOST_SAMPLES, announced_samples


def test_samples_are_counted_whatever_the_layout(tmp_path):
    whole = make_clip(tmp_path / "a.mp4", photo_crops(20, 64))
    assert announced_samples(whole) == 20
    for number, flags in enumerate(("faststart", "frag_keyframe+empty_moov")):
        again = copy_packets(whole, tmp_path / f"{number}.mp4", movflags=flags)
        assert announced_samples(again) == 20
    assert 20 < announced_samples(make_clip(tmp_path / "s.mov", photo_crops(20, 64), audio=True)) < 100


def test_sound_that_is_not_compressed_counts_as_ffmpeg_takes_it(tmp_path):
    whole = make_clip(tmp_path / "a.mov", photo_crops(20, 64))
    sound = copy_packets(whole, tmp_path / "s.mov", sound="pcm_s16le")
    assert 20 < announced_samples(sound) < 500
    assert open_source(sound).expected_frames == 20


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts"])
def test_other_files_have_no_such_index(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(clip(suffix))
    assert announced_samples(tmp_path / f"a{suffix}") == 0


def test_an_index_of_millions_in_a_small_file_is_refused_before_it_takes_memory(tmp_path):
    (tmp_path / "a.mp4").write_bytes(countless_samples(50_000_000))
    script = (
        "import sys; from pathlib import Path\n"
        "from p2p_deploy.media import open_source\n"
        "try:\n    open_source(Path(sys.argv[1]))\n"
        "except Exception as exc:\n    print(exc)\n"
        "print(Path('/proc/self/status').read_text())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.mp4")]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60).stdout
    assert "says that it has 50,000,000 frames and pieces of sound." in said
    assert int(re.search(r"VmHWM:\s+(\d+) kB", said)[1]) < 300 << 10


def test_edits_and_fragments_that_multiply_are_counted(tmp_path):
    data = clip(".mp4")
    at = data.index(b"elst") + 8
    (tmp_path / "a.mp4").write_bytes(data[:at] + struct.pack(">I", 1_000_000) + data[at + 4 :])
    run = b"\x00\x00\x00\x10trun" + struct.pack(">II", 0, MOST_SAMPLES)
    fragment = struct.pack(">I4s", 16 + len(run), b"moof") + struct.pack(">I4s", 8 + len(run), b"traf") + run
    (tmp_path / "b.mp4").write_bytes(data + fragment)
    for name in ("a.mp4", "b.mp4"):
        assert announced_samples(tmp_path / name) > MOST_SAMPLES
        with pytest.raises(ItemFailed, match="frames and pieces of sound"):
            open_source(tmp_path / name)
