"""Containers that are read and not written, names that look like something else, and what else a file may hold."""

from fractions import Fraction

import av
import numpy as np
import pytest
from helpers.clips import MADE_WITH, copy_through, make, moving_frames, read_source, times_of
from helpers.support import audio_packets, make_clip, read_clip

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import open_sink, open_source, output_suffix
from p2p_deploy.media.containers import CONTAINERS, READ_ONLY


def waveform(path):
    """The sound as one row of numbers from -1 to 1."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono")
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def test_every_container_that_is_only_read_is_made_here():
    assert set(READ_ONLY) == {*MADE_WITH, ".y4m"}


@pytest.mark.parametrize("suffix", READ_ONLY)
def test_a_container_that_is_only_read_becomes_matroska(suffix, tmp_path):
    frames = moving_frames(30)
    path = make(tmp_path / f"in{suffix}", frames)
    target = tmp_path / f"out{output_suffix(path.suffix)}"
    source, sink = copy_through(path, target)
    assert source.damage is None
    assert target.suffix == ".mkv"
    before, after = read_source(path)[0], read_source(target)[0]
    assert len(after) == len(before) == 30
    for (frame, image), (_, original), made in zip(after, before, frames, strict=True):
        assert float(frame.pts * frame.time_base) == pytest.approx(times_of(path)[frame.index], abs=6e-4)
        assert np.abs(image.astype(int) - original).mean() < 6
        assert np.abs(original.astype(int) - made).mean() < 16
    if suffix == ".wmv":  # which Matroska takes as nothing that FFmpeg would copy
        assert sink.notes[0] == "sound in wmav2 written as FLAC: matroska cannot take it"
        assert np.abs(waveform(path)[2048:50000] - waveform(target)[2048:50000]).max() < 2e-4
    elif suffix != ".y4m":
        packets = audio_packets(target)
        heard = [data for time, data in audio_packets(path) if time >= 0 or suffix not in (".3gp", ".3g2")]
        assert len(packets) == len(heard) > 5
        assert abs(packets[0][0] - times_of(target)[0]) < 0.2


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_times_of_broadcasts_are_counted_from_their_start(suffix, tmp_path):
    path = make(tmp_path / f"in{suffix}", moving_frames(30))
    with av.open(str(path)) as container:
        assert container.start_time > 0
    times = times_of(path)
    assert 0 <= times[0] < 0.2
    assert times == pytest.approx([times[0] + index / 25 for index in range(30)], abs=1e-4)


def test_broadcasts_joined_to_one_file_go_on_where_the_clock_starts_again(tmp_path):
    part = make(tmp_path / "part.ts", moving_frames(50)).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(part + part)
    _, sink = copy_through(path, tmp_path / "out.mkv")
    frames, _ = read_source(path)
    assert len(frames) == 100
    assert "time stamps that run backwards; counted on" in frames[-1][0].notes
    times = times_of(tmp_path / "out.mkv")
    assert np.diff([float(time) for time in times]) == pytest.approx([0.04] * 99, abs=2e-3)
    sound = [time for time, _ in audio_packets(tmp_path / "out.mkv")]
    assert len(sound) == 2 * len(audio_packets(tmp_path / "part.ts"))
    assert sound == sorted(sound)
    assert abs(sound[-1] - times[-1]) < 0.2
    assert sink.notes == ("time stamps rounded to milliseconds",)


def test_other_names_keep_their_suffix(tmp_path):
    for suffix in CONTAINERS:
        assert output_suffix(suffix) == suffix
    assert output_suffix(".MP4") == ".MP4"
    with pytest.raises(ItemFailed, match=r"out\.ts cannot be written; expected one of \.mp4"):
        open_sink(tmp_path / "out.ts", open_source(make_clip(tmp_path / "a.mkv", moving_frames(5))))


@pytest.mark.parametrize(
    "name",
    [
        "-o.mp4",
        "http:host.mp4",
        "http://host/clip.mp4",
        "pipe:0.mp4",
        "concat:a|b.mp4",
        "%03d.mp4",
        "two\nlines.mp4",
        "\udcff\udcfe.mp4",
        "file:.mp4",
        "a,b;c'd\"e.mp4",
    ],
)
def test_a_name_is_never_more_than_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "clip.mp4", moving_frames(5), audio=True)
    path = type(clip)(name)  # relative, as it may come from a command line
    path.parent.mkdir(parents=True, exist_ok=True)
    clip.rename(path)
    target = type(clip)("out") / path.name
    copy_through(path, target)
    assert len(read_source(target)[0]) == 5
    path.write_bytes(b"no video")
    with pytest.raises(ItemFailed, match="damaged"):
        open_source(path)


PLAY_LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1.0,\nfile:{clip}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {clip}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" bandwidth="1"><BaseURL>{clip}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("kind", PLAY_LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".flv"])
def test_a_play_list_opens_no_other_file(kind, suffix, tmp_path):
    clip = make(tmp_path / "clip.ts", moving_frames(10))
    path = tmp_path / f"list{suffix}"
    path.write_text(PLAY_LISTS[kind].format(clip=clip))
    with pytest.raises(ItemFailed, match=path.name):
        open_source(path)


SUBTITLES = {".mkv": "subrip", ".mp4": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}
CUES = [(0, 300, "first"), (300, 200, "second"), (600, 400, "third")]  # milliseconds


def with_subtitles(path, codec, texts=CUES):
    """A clip of a second with three cues, two chapters and a title."""
    clip = make_clip(path.with_name(f"plain{path.suffix}"), moving_frames(25), audio=True)
    with av.open(str(clip)) as source, av.open(str(path), "w") as container:
        targets = {stream: container.add_stream_from_template(stream) for stream in source.streams}
        subtitles = container.add_mux_stream(codec)
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "ita"
        container.metadata["title"] = "A title"
        milliseconds = Fraction(1, 1000)
        container.set_chapters(
            [
                {"id": 1, "start": 0, "end": 400, "time_base": milliseconds, "metadata": {"title": "One"}},
                {"id": 2, "start": 400, "end": 1000, "time_base": milliseconds, "metadata": {"title": "Two"}},
            ]
        )
        waiting = list(texts)
        for packet in source.demux():
            if packet.size == 0:
                continue
            while waiting and packet.pts * packet.time_base >= waiting[0][0] * milliseconds:
                container.mux(cue(*waiting.pop(0), subtitles, codec))
            packet.stream = targets[packet.stream]
            container.mux(packet)
    return path


def cue(start, duration, text, stream, codec):
    data = text.encode()
    packet = av.Packet(len(data).to_bytes(2, "big") + data if codec == "mov_text" else data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = start
    packet.duration = duration
    return packet


def cues(path):
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, packet.duration * packet.time_base, bytes(packet))
            for packet in container.demux(container.streams.subtitles)
            if packet.dts is not None and bytes(packet) != b"\x00\x00"  # what MP4 puts where there is no text
        ]


def chapters(path):
    with av.open(str(path)) as container:
        return [
            (
                chapter["start"] * chapter["time_base"],
                chapter["end"] * chapter["time_base"],
                chapter["metadata"]["title"],
            )
            for chapter in container.chapters()
        ]


@pytest.mark.parametrize("suffix", SUBTITLES)
def test_subtitles_and_chapters_are_copied(suffix, tmp_path):
    path = with_subtitles(tmp_path / f"in{suffix}", SUBTITLES[suffix])
    target = tmp_path / f"out{suffix}"
    source, sink = copy_through(path, target)
    assert source.damage is None
    assert sink.notes == ()
    assert len(cues(path)) == 3
    assert cues(target) == cues(path)
    assert chapters(target) == chapters(path) == [(0, Fraction(2, 5), "One"), (Fraction(2, 5), 1, "Two")]
    assert audio_packets(target) == audio_packets(path)
    assert [time for time, _ in read_clip(target)] == [time for time, _ in read_clip(path)]
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "A title"
        assert container.streams.subtitles[0].language == "ita"


def test_cues_that_start_together_stay_together(tmp_path):
    path = with_subtitles(tmp_path / "in.mkv", "subrip", [(100, 500, "up"), (100, 600, "down"), (100, 700, "left")])
    copy_through(path, tmp_path / "out.mkv")
    assert [data for *_, data in cues(path)] == [b"up", b"down", b"left"]
    assert cues(tmp_path / "out.mkv") == cues(path)


def test_what_a_container_does_not_take_is_named(tmp_path):
    path = with_subtitles(tmp_path / "in.mkv", "subrip")
    _, sink = copy_through(path, tmp_path / "out.mp4")
    assert sink.notes == ("subtitles dropped: mp4 cannot take srt",)
    _, sink = copy_through(path, tmp_path / "out.avi")
    assert sink.notes == (
        "sound dropped: avi cannot take aac in step with the pictures",
        "subtitles dropped: avi cannot take srt",
        "chapters dropped: avi has none",
    )
    assert len(read_source(tmp_path / "out.avi")[0]) == 25


def test_attachments_and_data_are_said_to_be_dropped(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 64
        container.add_attachment("font.ttf", "application/x-truetype-font", b"letters")
        for image in moving_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    _, sink = copy_through(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert sink.notes == ("attachments dropped",)
    with av.open(str(tmp_path / "in.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 64
        container.add_data_stream("klv")
        for image in moving_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    _, sink = copy_through(tmp_path / "in.ts", tmp_path / "out.mkv")
    assert sink.notes == ("data streams dropped",)
