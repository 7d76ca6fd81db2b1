import os
from pathlib import Path

import pytest
from helpers.support import place

from p2p_deploy.errors import InputError, ItemFailed, OutputError
from p2p_deploy.media import open_source
from p2p_deploy.options import RunOptions
from p2p_deploy.runner.jobs import list_jobs


@pytest.fixture
def folder(tmp_path):
    return place(
        tmp_path / "in", "b.jpg", "a.PNG", "clip.mp4", "notes.txt", ".hidden.png", "sub/c.webp", "sub/deeper/d.tif"
    )


def names(job_list, out):
    return {job.name: job.output.relative_to(out).as_posix() for job in job_list}


def test_a_folder_of_both_becomes_png_and_clips(folder, tmp_path):
    job_list = list_jobs(folder, tmp_path / "out")
    assert names(job_list, tmp_path / "out") == {"a.PNG": "a.png", "b.jpg": "b.png", "clip.mp4": "clip.mp4"}
    assert job_list.ignored == 1


def test_recursion_mirrors_the_tree(folder, tmp_path):
    found = names(list_jobs(folder, tmp_path / "out", RunOptions(recursive=True)), tmp_path / "out")
    assert found["sub/c.webp"] == "sub/c.png"
    assert found["sub/deeper/d.tif"] == "sub/deeper/d.png"


def test_two_inputs_never_share_an_output(tmp_path):
    source = place(tmp_path / "in", "a.jpg", "a.bmp", "A.png", "b.png")
    found = names(list_jobs(source, tmp_path / "out"), tmp_path / "out")
    assert found == {"A.png": "A.png.png", "a.bmp": "a.bmp.png", "a.jpg": "a.jpg.png", "b.png": "b.png"}


COLLIDING = {
    "an input is named as an output that gave way": ("a.jpg", "a.bmp", "a.jpg.png"),
    "and so is the one that follows": ("a.jpg", "a.bmp", "a.jpg.png", "a.jpg.bmp", "a.jpg.png-2.png", "a.jpg.png.jpg"),
    "only case differs": ("a.png", "A.png", "a.PNG", "clip.mp4", "Clip.MP4", "sub/b.png", "SUB/b.png"),
    "all of them at once": ("a.jpg", "A.JPG", "a.jpeg", "a.png", "a.tif", "a.tiff", "a.webp", "a.bmp", "A.Png"),
    "a folder is named as an output": (
        "a.jpg",
        "a.png/b.jpg",
        "a.bmp",
        "a.jpg.png/c.png",
        "clip.mp4/d.png",
        "clip.jpg",
    ),
}


@pytest.mark.parametrize("files", COLLIDING.values(), ids=COLLIDING)
def test_outputs_are_distinct_whatever_the_names(files, tmp_path):
    source = place(tmp_path / "in", *files)
    found = names(list_jobs(source, tmp_path / "out", RunOptions(recursive=True)), tmp_path / "out")
    assert set(found) == set(files)
    folded = [output.casefold() for output in found.values()]
    assert len(set(folded)) == len(files)
    folders = {parent.as_posix().casefold() for output in found.values() for parent in Path(output).parents}
    assert not folders & set(folded)


@pytest.mark.parametrize("files", COLLIDING.values(), ids=COLLIDING)
def test_the_plan_does_not_depend_on_the_order_of_the_listing(files, tmp_path):
    forwards = list_jobs(place(tmp_path / "in", *files), tmp_path / "out", RunOptions(recursive=True))
    for path in sorted((tmp_path / "in").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    backwards = list_jobs(place(tmp_path / "in", *reversed(files)), tmp_path / "out", RunOptions(recursive=True))
    assert forwards == backwards


def test_a_single_input_goes_into_a_folder_or_to_a_file(folder, tmp_path):
    job_list = list_jobs(folder / "b.jpg", tmp_path / "out")
    assert next(iter(job_list)).output == tmp_path / "out" / "b.png"
    assert job_list.folder == tmp_path / "out"
    job_list = list_jobs(folder / "b.jpg", tmp_path / "done.jpg")
    assert next(iter(job_list)).output == tmp_path / "done.jpg"
    assert job_list.folder is None
    existing = tmp_path / "folder.png"
    existing.mkdir()
    assert next(iter(list_jobs(folder / "b.jpg", existing))).output == existing / "b.png"


def test_links_to_folders_are_not_followed(folder, tmp_path):
    (folder / "sub" / "loop").symlink_to(folder)
    assert list_jobs(folder, tmp_path / "out", RunOptions(recursive=True)).total == 5


@pytest.mark.parametrize("out", ["in", "in/out", "in/sub/out", "elsewhere/../in/out"])
def test_an_output_folder_inside_the_input_folder_is_refused(folder, tmp_path, out):
    with pytest.raises(OutputError, match="lies inside the input folder"):
        list_jobs(folder, tmp_path / out)


def test_a_link_into_the_input_folder_is_seen_through(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "sub")
    with pytest.raises(OutputError, match="lies inside the input folder"):
        list_jobs(folder, tmp_path / "link")


def test_an_output_that_lands_among_the_inputs_from_above_is_refused(tmp_path):
    source = place(tmp_path / "photos" / "photos", "a.jpg", "photos/b.jpg")
    for out in (tmp_path / "photos", source / ".."):
        assert names(list_jobs(source, out), out) == {"a.jpg": "a.png"}
        with pytest.raises(OutputError, match="inside the input folder"):
            list_jobs(source, out, RunOptions(recursive=True, overwrite=True))


def test_an_output_never_replaces_its_own_input_through_a_link(tmp_path):
    source = place(tmp_path / "in", "a.png")
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(OutputError, match="replace its own input"):
        list_jobs(source / "a.png", tmp_path / "link", RunOptions(overwrite=True))


@pytest.mark.parametrize("name", ["x.png", "x.mp4"])
def test_a_link_that_leads_to_itself_is_one_input_that_fails(folder, tmp_path, name):
    (folder / name).symlink_to(name)
    job_list = list_jobs(folder, tmp_path / "out")
    (job,) = (job for job in job_list if job.name == name)
    assert job_list.total == 4
    with pytest.raises(ItemFailed, match=name):
        decode_first(job.source)


def decode_first(path):
    source = open_source(path)
    return source.decode(next(iter(source.items())))


def test_a_link_that_leads_to_itself_is_nothing_to_read(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(InputError, match="does not exist"):
        list_jobs(tmp_path / "loop.png", tmp_path / "out")


def test_a_pipe_is_no_input_and_neither_is_a_link_to_one(folder, tmp_path):
    os.mkfifo(folder / "x.png")
    (folder / "y.png").symlink_to("x.png")
    os.mkfifo(tmp_path / "x.mp4")
    (folder / "x.mp4").symlink_to(tmp_path / "x.mp4")
    job_list = list_jobs(folder, tmp_path / "out")
    assert {job.name for job in job_list} == {"a.PNG", "b.jpg", "clip.mp4"}
    assert job_list.ignored == 4


def test_an_output_never_replaces_its_own_input(folder):
    with pytest.raises(OutputError, match="replace its own input"):
        list_jobs(folder / "sub" / "c.webp", folder / "sub" / "c.webp", RunOptions(overwrite=True))


def test_existing_outputs_are_refused_before_any_work(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"b\.png exists already.*overwrite=True"):
        list_jobs(folder, tmp_path / "out")
    assert list_jobs(folder, tmp_path / "out", RunOptions(overwrite=True)).total == 3


def test_nothing_to_do_is_an_error_that_says_where_to_look(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images or videos"):
        list_jobs(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "sub").mkdir()
    with pytest.raises(InputError, match="1 sub-folders; add `recursive=True`"):
        list_jobs(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        list_jobs(tmp_path / "missing", tmp_path / "out")


def test_files_that_cannot_fit_together_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="by its suffix"):
        list_jobs(folder / "notes.txt", tmp_path / "out")
    with pytest.raises(OutputError, match="a still image and cannot become"):
        list_jobs(folder / "b.jpg", tmp_path / "b.mp4")
    with pytest.raises(OutputError, match="a video and cannot become"):
        list_jobs(folder / "clip.mp4", tmp_path / "b.png")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="is a file"):
        list_jobs(folder, tmp_path / "file")


@pytest.mark.parametrize("name", ["b.mkv", "b.m4v", "b.MOV", "b.avi", "b.webm"])
def test_a_video_keeps_its_container(folder, tmp_path, name):
    with pytest.raises(OutputError, match=r"a video keeps its container.*\*\.mp4"):
        list_jobs(folder / "clip.mp4", tmp_path / name)
    assert next(iter(list_jobs(folder / "clip.mp4", tmp_path / "b.MP4"))).output == tmp_path / "b.MP4"
