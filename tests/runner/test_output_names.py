"""How outputs are named, and what is refused because of it."""

import os

import pytest
from helpers.support import place

from p2p_deploy.errors import InputError, OutputError
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import conflicts, jobs, output_names
from p2p_deploy.runner.jobs import list_jobs


def outputs(job_list):
    return {job.name: job.output.relative_to(job_list.out).as_posix() for job in job_list}


def test_each_output_that_gave_way_says_to_whom(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "a.bmp", "b.png", "c.jpg", "c.png/d.jpg")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    assert {job.name: job.note for job in job_list} == {
        "a.bmp": "named a.bmp.png, because a.jpg has the same name without suffix",
        "a.jpg": "named a.jpg.png, because a.bmp has the same name without suffix",
        "b.png": None,
        "c.jpg": "named c.jpg.png, because a folder is called c.png",
        "c.png/d.jpg": None,
    }


def test_numbers_go_on_where_they_ended(tmp_path):
    names = [f"{''.join(letters)}.png" for letters in zip("aAaAaAaA", "bbBBbbBB", "ccccCCCC", strict=True)]
    job_list = list_jobs(place(tmp_path / "in", *names, "abc.png-3.png"), tmp_path / "out")
    found = sorted(output.casefold() for output in outputs(job_list).values())
    assert found == sorted(["abc.png.png", "abc.png-3.png", *(f"abc.png-{n}.png" for n in (2, *range(4, 10)))])


@pytest.mark.parametrize(
    ("ext", "wanted"),
    {
        "png": ["a.png", "b.png", "c.png", "d.MP4"],
        "jpg": ["a.jpg", "b.jpg", "c.jpg", "d.MP4"],
        "webp": ["a.webp", "b.webp", "c.webp", "d.MP4"],
        "tiff": ["a.tiff", "b.tiff", "c.tiff", "d.MP4"],
        "avif": ["a.avif", "b.avif", "c.avif", "d.MP4"],
        "same": ["a.JPG", "b.tif", "c.bmp", "d.MP4"],
    }.items(),
)
def test_images_get_the_format_that_is_asked_for(tmp_path, ext, wanted):
    source = place(tmp_path / "in", "a.JPG", "b.tif", "c.bmp", "d.MP4")
    assert list(outputs(list_jobs(source, tmp_path / "out", RunOptions(ext=ext))).values()) == wanted
    assert next(iter(list_jobs(source / "a.JPG", tmp_path / "out", RunOptions(ext=ext)))).output.name == wanted[0]


def test_what_is_only_read_becomes_png_and_may_be_no_output(tmp_path, monkeypatch):
    assert output_names.output_name("x.GIF", "same") == "x.png"
    assert output_names.output_name("x.gif", "jpg") == "x.jpg"
    monkeypatch.setattr(jobs, "MEDIA_SUFFIXES", jobs.MEDIA_SUFFIXES | {".gif"})
    source = place(tmp_path, "a.gif") / "a.gif"
    with pytest.raises(OutputError, match=r"b\.gif: \.gif is read and not written\. Choose one of \.avif"):
        list_jobs(source, tmp_path / "b.gif")


def test_a_format_that_this_opencv_cannot_write_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(output_names, "WRITTEN_SUFFIXES", output_names.WRITTEN_SUFFIXES - {".avif"})
    source = place(tmp_path / "in", "a.jpg")
    with pytest.raises(OutputError, match=r"\.avif cannot be written here\. Choose an `ext` among .*\.png"):
        list_jobs(source, tmp_path / "out", RunOptions(ext="avif"))
    assert list_jobs(source, tmp_path / "out", RunOptions(ext="same")).total == 1


def test_formats_that_keep_their_suffix_collide_only_where_they_must(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "a.png", "b.jpg", "b.JPG")
    found = outputs(list_jobs(source, tmp_path / "out", RunOptions(ext="same")))
    assert found == {"a.jpg": "a.jpg", "a.png": "a.png", "b.JPG": "b.JPG.JPG", "b.jpg": "b.jpg-2.jpg"}


@pytest.mark.parametrize("wrong", [{"ext": "gif"}, {"ext": ""}, {"ext": "/../x"}, {"limit": 0}])
def test_senseless_wishes_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be"):
        list_jobs(place(tmp_path / "in", "a.png"), tmp_path / "out", RunOptions(**wrong))


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
def test_the_first_few_are_named_as_if_all_were_done(tmp_path, limit):
    source = place(tmp_path / "in", "a.jpg", "a.png", "clip.mp4", "sub/c.jpg", "sub/d.jpg")
    everything = list(list_jobs(source, tmp_path / "out", RunOptions(recursive=True)))
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True, limit=limit))
    assert list(job_list) == everything[:limit]
    assert job_list.total == min(limit, 5)
    assert job_list.stills == sum(not job.name.endswith("mp4") for job in job_list)
    assert sum(job.note is not None for job in job_list) == min(limit, 2)


def test_only_what_will_be_written_may_not_exist(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg", "sub/d.jpg", "sub/e.jpg")
    out = place(tmp_path / "out", "b.png", "c.png", "C.PNG", "x.png", "sub/e.png", "sub/d.jpg")
    with pytest.raises(OutputError, match=r"b\.png and 2 more exists already\. Choose another place, or replace"):
        list_jobs(source, out, RunOptions(recursive=True))
    assert list_jobs(source, out, RunOptions(limit=1)).total == 1
    assert list_jobs(source, out, RunOptions(recursive=True, overwrite=True)).total == 5


def test_what_differs_only_in_case_is_in_the_way_only_where_the_disk_says_so(tmp_path, monkeypatch):
    source, out = place(tmp_path / "in", "a.jpg"), place(tmp_path / "out", "A.PNG")
    assert list_jobs(source, out).total == 1
    monkeypatch.setattr(conflicts.os.path, "exists", lambda path: True)  # as a disk that folds case answers
    with pytest.raises(OutputError, match=r"a\.png exists already"):
        list_jobs(source, out)


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_where_an_output_will_be_is_refused_even_when_overwriting(tmp_path, link):
    source = place(tmp_path / "in", "a.jpg", "sub/b.jpg")
    (tmp_path / "out" / "sub").mkdir(parents=True)
    if link:
        (tmp_path / "out" / "sub" / "b.png").symlink_to(tmp_path)
    else:
        (tmp_path / "out" / "sub" / "b.png").mkdir()
    with pytest.raises(OutputError, match=r"sub/b\.png is a folder, and a file would take its name"):
        list_jobs(source, tmp_path / "out", RunOptions(recursive=True, overwrite=True))


def test_a_link_to_nothing_in_the_place_of_an_output_is_replaced(tmp_path):
    out = place(tmp_path / "out")
    out.mkdir()
    (out / "a.png").symlink_to("a.png")
    assert list_jobs(place(tmp_path / "in", "a.jpg"), out).total == 1


def test_a_file_where_a_folder_of_outputs_will_be_is_refused(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "sub/deep/b.jpg")
    out = place(tmp_path / "out", "sub")
    with pytest.raises(OutputError, match=r"out/sub is a file, and the outputs need a folder of that name"):
        list_jobs(source, out, RunOptions(recursive=True, overwrite=True))


def test_a_folder_named_as_the_record_is_refused(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "p2p-run.jsonl/b.jpg")
    with pytest.raises(OutputError, match=r"p2p-run\.jsonl is a folder, and in .*taken by the record"):
        list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    assert list_jobs(source, tmp_path / "out").total == 1
    deeper = place(tmp_path / "other", "sub/p2p-run.jsonl/c.jpg")
    assert list_jobs(deeper, tmp_path / "out", RunOptions(recursive=True)).total == 1


def test_an_input_that_is_a_link_to_its_own_output_is_refused(tmp_path):
    source, out = place(tmp_path / "in", "a.png"), place(tmp_path / "out", "b.png", "c.png")
    (source / "b.png").symlink_to(out / "b.png")
    with pytest.raises(OutputError, match=r"b\.png would replace its own input"):
        list_jobs(source, out, RunOptions(overwrite=True))
    (source / "b.png").unlink()
    (source / "d.png").symlink_to(out / "c.png")
    (source / "e.png").symlink_to(out / "nothing.png")
    assert list_jobs(source, out, RunOptions(overwrite=True)).total == 3


def test_folders_that_differ_in_case_only_share_their_names_all_the_way_down(tmp_path):
    source = place(tmp_path / "in", "sub/x/a.jpg", "SUB/X/a.png", "Sub/x/b.png", "sub/c.png/d.png", "SUB/c.jpg")
    found = outputs(list_jobs(source, tmp_path / "out", RunOptions(recursive=True)))
    assert found == {
        "SUB/c.jpg": "SUB/c.jpg.png",
        "SUB/X/a.png": "SUB/X/a.png.png",
        "sub/x/a.jpg": "sub/x/a.jpg.png",
        "Sub/x/b.png": "Sub/x/b.png",
        "sub/c.png/d.png": "sub/c.png/d.png",
    }


def test_a_name_that_no_disk_has_room_for_is_one_input_that_fails_later(tmp_path):
    source = place(tmp_path / "in", f"{'x' * 251}.jpg")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(ext="webp", overwrite=True))
    assert len(os.fsencode(next(iter(job_list)).output.name)) == 256
    assert list_jobs(source / f"{'x' * 251}.jpg", tmp_path / "out", RunOptions(ext="webp")).total == 1
    with pytest.raises(InputError, match="cannot be looked at: File name too long"):
        list_jobs(tmp_path / ("x" * 300), tmp_path / "out")


def test_names_are_packed_and_come_back_as_they_were():
    names = [os.fsdecode(bytes([first]) + b"\n-\xff.png") for first in range(1, 256) if first != ord("/")] * 40
    assert list(output_names.unpack(output_names.pack(iter(names)))) == names
    assert output_names.pack([]) == ()
