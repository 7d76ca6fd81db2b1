"""The loop: right pictures in the right files, inputs that fail, and how much is under way at once."""

import threading

import av
import numpy as np
import pytest
from helpers.networks import write_identity
from helpers.support import (
    by_input,
    imwrite,
    leftovers,
    make_clip,
    photo,
    photo_crops,
    read_clip,
    read_record,
    write_images,
)

import p2p_deploy
from p2p_deploy import pixels
from p2p_deploy.backends.base import Model
from p2p_deploy.errors import OutputError
from p2p_deploy.media.image.files import ImageSink, encode_image, read_image
from p2p_deploy.media.video.source import VideoSource
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import slots

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def model(identity):
    with p2p_deploy.load(identity) as model:
        yield model


@pytest.fixture
def images(tmp_path):
    frames = photo_crops(11, 32)
    write_images(tmp_path / "in", frames)
    return frames


class TestResults:
    @pytest.mark.parametrize("batch", [1, 2, 4, 11, 50])
    def test_every_image_lands_in_its_own_file(self, model, images, tmp_path, batch):
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=batch))
        assert (summary.done, summary.frames, summary.failed) == (11, 11, 0)
        assert summary.complete
        for index, frame in enumerate(images):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], frame)
        assert not leftovers(tmp_path)

    def test_equals_the_torch_network_on_distinct_pictures_of_mixed_origin(self, checkpoint, exported, tmp_path):
        """PNG in, PNG out, at the model's size: at most one grey level at every pixel of every picture."""
        frames = photo_crops(13, 64, seed=5)
        write_images(tmp_path / "in", frames)
        with p2p_deploy.load(exported.onnx) as model:
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        with p2p_deploy.load(checkpoint) as torch_model:
            expected = torch_model(frames).astype(int)
        assert expected.std() > 20
        for index in range(len(frames)):
            output = read_image(tmp_path / "out" / f"{index:03d}.png")[0].astype(int)
            assert np.abs(output - expected[index]).max() <= 1
            others = [np.abs(output - expected[other]).mean() for other in range(len(frames)) if other != index]
            assert min(others) > 5  # no other picture would have passed

    def test_every_frame_of_a_clip_equals_the_network_at_its_time(self, checkpoint, tmp_path):
        clip = make_clip(tmp_path / "clip.mkv", photo_crops(23, 64), audio=True)
        source = VideoSource(clip)
        decoded = np.stack([source.decode(item)[1] for item, _ in zip(source.items(), range(23), strict=False)])
        with p2p_deploy.load(checkpoint) as model:
            expected = model(decoded)
            summary = p2p_deploy.run(model, clip, tmp_path / "out")
        assert summary.frames == 23
        written = read_clip(tmp_path / "out" / "clip.mkv")
        assert [time for time, _ in written] == [time for time, _ in read_clip(clip)]
        # Chroma subsampling takes the finest colour noise; what is left at an eighth of the size must be this frame's.
        for index, (_, image) in enumerate(written):
            distances = [coarse_distance(image, wanted) for wanted in expected]
            assert distances[index] < 8
            assert int(np.argmin(distances)) == index
            assert coarse_distance(image, decoded[index]) > 15

    def test_a_folder_of_both_with_batches_across_files(self, model, images, tmp_path):
        make_clip(tmp_path / "in" / "005-clip.mp4", photo_crops(7, 32))
        make_clip(tmp_path / "in" / "006-clip.mp4", photo_crops(3, 32))
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert (summary.done, summary.frames) == (13, 21)
        assert by_input(tmp_path / "out")["005-clip.mp4"]["frames"] == 7
        assert len(read_clip(tmp_path / "out" / "006-clip.mp4")) == 3

    def test_sizes_and_channels_are_converted_restored_and_said(self, model, tmp_path):
        imwrite(tmp_path / "in" / "grey.png", photo("camera.png"))
        imwrite(tmp_path / "in" / "tall.png", photo("coffee.png")[:, :100])
        imwrite(tmp_path / "in" / "alpha.png", np.full((32, 32, 4), 100, np.uint8))
        imwrite(tmp_path / "in" / "exact.png", photo_crops(1, 32)[0])
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
        assert dict(summary.notes) == {
            "resized to 32x32 and back": 2,
            "grey widened to RGB": 1,
        }
        assert read_image(tmp_path / "out" / "tall.png")[0].shape == (400, 100, 3)
        assert read_image(tmp_path / "out" / "grey.png")[0].shape == (512, 512, 3)
        assert by_input(tmp_path / "out")["exact.png"]["notes"] == []
        assert read_image(tmp_path / "out" / "alpha.png")[1] == ("alpha channel dropped",)  # by this reader

    def test_a_single_image_becomes_the_named_file(self, model, images, tmp_path):
        summary = p2p_deploy.run(model, tmp_path / "in" / "000.png", tmp_path / "deep" / "result.jpg")
        assert summary.complete
        assert summary.record is None
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["result.jpg"]

    def test_the_record_has_a_line_for_each_input_and_a_summary(self, model, images, tmp_path):
        (tmp_path / "in" / "005.png").write_text("broken")
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
        record = read_record(tmp_path / "out")
        assert len(record) == 12
        assert record[-1]["summary"]["done"] == 10
        lines = by_input(tmp_path / "out")
        assert lines["004.png"]["status"] == "done"
        assert lines["004.png"]["output"].endswith("out/004.png")
        assert lines["005.png"]["status"] == "failed"
        assert lines["005.png"]["output"] is None
        assert "damaged" in lines["005.png"]["error"]

    def test_progress_ends_where_the_work_ends(self, model, images, tmp_path):
        make_clip(tmp_path / "in" / "clip.mp4", photo_crops(5, 32))
        (tmp_path / "in" / "000.png").write_text("broken")
        seen = []
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", on_progress=seen.append)
        assert [now.frames for now in seen] == sorted(now.frames for now in seen)
        assert (seen[-1].inputs, seen[-1].failed) == (12, 1)
        assert seen[-1].frames == seen[-1].frames_expected == 15

    def test_nothing_is_written_beside_the_inputs(self, model, images, tmp_path):
        before = sorted((tmp_path / "in").iterdir())
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
        assert sorted((tmp_path / "in").iterdir()) == before

    def test_a_batch_of_nothing_is_refused(self, model, images, tmp_path):
        with pytest.raises(ValueError, match="at least 1"):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=0))


class TestInputsThatFail:
    def test_broken_files_among_good_ones_cost_only_themselves(self, model, images, tmp_path):
        jpeg = encode_image(photo_crops(1, 64)[0], ".jpg")
        (tmp_path / "in" / "005x.jpg").write_bytes(jpeg[: len(jpeg) // 2])
        (tmp_path / "in" / "002.png").write_bytes(b"")
        (tmp_path / "in" / "003.png").write_text("text named .png")
        (tmp_path / "in" / "clip.mp4").write_bytes(b"")
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert (summary.done, summary.failed) == (9, 4)
        for index in (0, 1, 4, 5, 6, 7, 8, 9, 10):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], images[index])
        assert not (tmp_path / "out" / "003.png").exists()
        assert {name for name, _ in summary.errors} == {"005x.jpg", "002.png", "003.png", "clip.mp4"}
        assert not leftovers(tmp_path)

    def test_a_folder_of_nothing_but_broken_files_ends(self, model, tmp_path):
        for index in range(30):
            (tmp_path / "in").mkdir(exist_ok=True)
            (tmp_path / "in" / f"{index}.png").write_text("broken")
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert (summary.done, summary.failed) == (0, 30)

    def test_a_clip_cut_in_the_middle_is_partial(self, model, tmp_path):
        whole = make_clip(tmp_path / "whole.mkv", np.repeat(photo_crops(25, 64), 4, axis=0))
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
        assert (summary.done, summary.partial, summary.failed) == (0, 1, 0)
        assert not summary.complete
        line = by_input(tmp_path / "out")["cut.mkv"]
        assert line["status"] == "partial"
        assert "ends early" in line["error"]
        assert len(read_clip(tmp_path / "out" / "cut.mkv")) == line["frames"] > 10

    def test_a_name_too_long_for_the_disk_costs_only_itself(self, model, images, tmp_path):
        long = "x" * 250
        for suffix in (".png", ".bmp"):  # the outputs of both keep their suffixes and add one
            imwrite(tmp_path / "in" / f"{long}{suffix}", images[0])
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
        assert (summary.done, summary.failed) == (11, 2)
        assert all("File name too long" in sentence for _, sentence in summary.errors)
        assert not leftovers(tmp_path)

    def test_a_folder_in_the_place_of_an_output_is_refused(self, model, images, tmp_path):
        (tmp_path / "out" / "003.png").mkdir(parents=True)
        with pytest.raises(OutputError, match=r"003\.png is a folder"):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(overwrite=True))

    def test_a_clip_that_changes_its_size_is_kept_at_the_first_and_said(self, model, tmp_path):
        """Parts of different sizes in one stream, as a broadcast has them."""
        parts = [make_clip(tmp_path / f"{size}.webm", photo_crops(5, size)) for size in (64, 96)]
        join(parts, tmp_path / "clip.webm")
        summary = p2p_deploy.run(model, tmp_path / "clip.webm", tmp_path / "out")
        assert summary.frames == 10
        assert summary.notes["size changes within the clip; kept at the first"] == 1
        assert {image.shape for _, image in read_clip(tmp_path / "out" / "clip.webm")} == {(64, 64, 3)}


def join(parts, target):
    """The packets of several clips of 5 frames in one stream, with the header of the first."""
    with av.open(str(target), "w") as container:
        target_stream = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                target_stream = target_stream or container.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        shift = round(number * 5 / 25 / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = target_stream
                        container.mux(packet)


def coarse_distance(a, b):
    """Mean difference of two images averaged over 8 x 8 pixels, grey levels."""
    height, width = a.shape[0] // 8, a.shape[1] // 8
    return float(np.abs(pixels.resize(a, height, width).astype(int) - pixels.resize(b, height, width)).mean())


class Asynchronous(Model):
    """Computes on a thread of its own and answers only in ``wait``, as a GPU runtime does."""

    name = "asynchronous"
    in_flight = 2

    def __init__(self, model):
        super().__init__(model.spec, "cpu")
        self.model = model
        self.threads = {}
        self.waiting = 0
        self.most_waiting = 0

    def submit(self, slot):
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        self.threads[id(slot)] = threading.Thread(target=self.model.submit, args=(slot,))
        self.threads[id(slot)].start()

    def wait(self, slot):
        self.threads.pop(id(slot)).join()
        self.waiting -= 1

    def versions(self):
        return {}


@pytest.mark.parametrize("batch", [1, 3])
def test_a_runtime_with_several_slots_in_flight_mixes_nothing_up(model, images, tmp_path, batch):
    make_clip(tmp_path / "in" / "clip.mp4", photo_crops(9, 32))
    backend = Asynchronous(model)
    summary = p2p_deploy.run(backend, tmp_path / "in", tmp_path / "out", RunOptions(batch=batch))
    assert summary.complete
    assert backend.most_waiting == 2
    assert backend.waiting == 0
    for index, frame in enumerate(images):
        np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], frame)


def test_slots_bound_what_is_decoded_ahead(model, tmp_path, monkeypatch):
    """A slow encoder holds decoding back: no more frames are under way than the ring has rows."""
    write_images(tmp_path / "in", photo_crops(60, 32))
    decoded, written, most, lock = [0], [0], [0], threading.Lock()
    real_decode, real_close = p2p_deploy.media.image.files.ImageSource.decode, ImageSink.close

    def decode(self, item, into=None):
        with lock:
            decoded[0] += 1
            most[0] = max(most[0], decoded[0] - written[0])
        return real_decode(self, item, into)

    def close(self):
        threading.Event().wait(0.01)
        real_close(self)
        with lock:
            written[0] += 1

    monkeypatch.setattr(p2p_deploy.media.image.files.ImageSource, "decode", decode)
    monkeypatch.setattr(ImageSink, "close", close)
    p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=2))
    assert written[0] == 60
    assert most[0] <= slots.SLOTS * 2


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(model, images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "file" / "out")


def test_grey_models_take_colour_and_grey(tmp_path):
    write_images(tmp_path / "in", photo_crops(2, 32))
    with p2p_deploy.load(write_identity(tmp_path / "grey.onnx", channels=1)) as model:
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
    assert dict(summary.notes) == {"colour reduced to grey": 2}
    assert read_image(tmp_path / "out" / "000.png")[0].shape == (32, 32, 1)
