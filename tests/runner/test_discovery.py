"""Walking big, changing and strange trees, and patterns over them."""

import os
import tracemalloc

import pytest
from helpers.support import place

from p2p_deploy.errors import InputError, ItemFailed, OutputError
from p2p_deploy.media import open_source
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import discovery, output_names as naming
from p2p_deploy.runner.discovery import Pattern, split_pattern
from p2p_deploy.runner.jobs import list_jobs


def names(job_list):
    return [job.name for job in job_list]


def test_the_files_of_a_folder_come_before_its_sub_folders(tmp_path):
    source = place(tmp_path / "in", "z.png", "a.jpg", "b/2.png", "b/1.mp4", "b/c/x.png", "a/y.png", "B.png")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    assert names(job_list) == ["B.png", "a.jpg", "z.png", "a/y.png", "b/1.mp4", "b/2.png", "b/c/x.png"]
    assert names(job_list) == names(job_list)
    assert (job_list.total, job_list.stills, job_list.ignored, job_list.skipped) == (7, 6, 0, 0)
    assert [path.relative_to(tmp_path).as_posix() for path in job_list.folders()] == [
        "out",
        "out/a",
        "out/b",
        "out/b/c",
    ]
    assert [job.source for job in job_list] == [source / name for name in names(job_list)]


def test_inputs_are_those_that_were_there_when_the_run_was_planned(tmp_path):
    source = place(tmp_path / "in", "a.png", "b.png", "sub/c.png")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    (source / "b.png").unlink()
    (source / "sub" / "c.png").unlink()
    (source / "sub").rmdir()
    place(source, "a.jpg", "new/d.png")
    assert names(job_list) == ["a.png", "b.png", "sub/c.png"]
    assert [job.output.name for job in job_list] == ["a.png", "b.png", "c.png"]  # a.jpg has not made a.png give way
    for job in list(job_list)[1:]:
        opened = open_source(job.source)
        with pytest.raises(ItemFailed, match="No such file"):
            opened.decode(next(iter(opened.items())))


def test_a_folder_that_vanishes_while_the_tree_is_walked_has_nothing_in_it(tmp_path, monkeypatch):
    source = place(tmp_path / "in", "a.png", "sub/c.png")
    scandir = os.scandir

    def vanishing(path):
        if str(path).endswith("sub"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(discovery.os, "scandir", vanishing)
    assert names(list_jobs(source, tmp_path / "out", RunOptions(recursive=True))) == ["a.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    source = place(tmp_path / "in", "a.png", "sub/c.png")
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(discovery.os, "scandir", locked)
    with pytest.raises(InputError, match="sub cannot be listed: Permission denied"):
        list_jobs(source, tmp_path / "out", RunOptions(recursive=True))


@pytest.mark.parametrize("layout", ["one folder", "many folders", "every file has a rival"])
def test_what_is_kept_of_an_input_is_small(layout, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(6000):
        if layout == "one folder":
            name = f"IMG_{index:08}.jpg"
        elif layout == "many folders":
            name = f"{index // 20:05}/IMG_{index:08}.jpg"
        else:
            name = f"IMG_{index // 2:08}.{('jpg', 'png')[index % 2]}"
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    list_jobs(tmp_path / "in", tmp_path / "out", RunOptions(recursive=True, limit=1))  # what is loaded once
    tracemalloc.start()
    job_list = list_jobs(tmp_path / "in", tmp_path / "out", RunOptions(recursive=True))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    assert sum(entry[0] != "/" for entry in naming.unpack(job_list.packed)) == job_list.total == 6000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept < 6000 * 40
    assert most - kept < 6000 * 150  # some of the names, however many there are


def test_loops_of_links_end(tmp_path):
    source = place(tmp_path / "in", "a.png", "sub/b.png")
    (source / "sub" / "up").symlink_to(source, target_is_directory=True)
    (source / "self").symlink_to("self")
    (source / "self.png").symlink_to("self.png")
    job_list = list_jobs(source, tmp_path / "out", RunOptions(recursive=True))
    assert names(job_list) == ["a.png", "self.png", "sub/b.png"]
    assert job_list.ignored == 1


PATTERNS = {
    "*.jpg": ["b.jpg"],
    "*": ["a.png", "b.jpg", "clip.mp4"],
    "**/*.jpg": ["b.jpg", "sub/c.jpg", "sub/deep/d.jpg"],
    "**": ["a.png", "b.jpg", "clip.mp4", "sub/c.jpg", "sub/deep/d.jpg", "sub/deep/e.png"],
    "*/*.jpg": ["sub/c.jpg"],
    "s?b/**/*.p[mn]g": ["sub/deep/e.png"],
    "**/deep/*": ["sub/deep/d.jpg", "sub/deep/e.png"],
    "**/**/d*": ["sub/deep/d.jpg"],
    "[!a-b]*": ["clip.mp4"],
}


@pytest.fixture
def tree(tmp_path):
    return place(
        tmp_path / "in", "a.png", "b.jpg", "clip.mp4", "x.txt", ".h.jpg", "sub/c.jpg", "sub/deep/d.jpg",
        "sub/deep/e.png", ".hidden/f.jpg"
    )  # fmt: skip


@pytest.mark.parametrize(("pattern", "found"), PATTERNS.items())
def test_a_pattern_names_files_from_its_first_wildcard_on(tree, tmp_path, pattern, found):
    job_list = list_jobs(tree / pattern, tmp_path / "out")
    assert names(job_list) == found
    assert job_list.total == len(found)
    assert job_list.folder == tmp_path / "out"
    assert all(job.source == tree / job.name for job in job_list)
    assert all(job.output.parent == (tmp_path / "out" / job.name).parent for job in job_list)


def test_a_pattern_starts_from_the_last_folder_without_a_wildcard(tree, tmp_path, monkeypatch):
    assert names(list_jobs(tree / "sub" / "*.jpg", tmp_path / "out")) == ["c.jpg"]
    monkeypatch.chdir(tree)
    job_list = list_jobs(discovery.Path("**/d*.jpg"), tmp_path / "out")
    assert [(str(job.source), job.name) for job in job_list] == [("sub/deep/d.jpg", "sub/deep/d.jpg")]


def test_what_exists_under_its_name_is_no_pattern(tmp_path):
    place(tmp_path, "set[1]/a[2].png", "set1/a2.png")
    assert names(list_jobs(tmp_path / "set[1]" / "a[2].png", tmp_path / "out")) == ["a[2].png"]
    assert names(list_jobs(tmp_path / "set[1]", tmp_path / "out")) == ["a[2].png"]
    assert split_pattern(tmp_path / "set[1]" / "*.png")[0] == tmp_path / "set[1]"
    assert split_pattern(tmp_path / "set[1]" / "b.png") is None


def test_a_pattern_without_inputs_is_refused_in_a_sentence(tree, tmp_path):
    for pattern, sentence in {
        "*.webp": r"\*\.webp matches nothing\. Expected a pattern",
        "*.txt": "matches only 1 files of other kinds",
        "missing/*.png": "missing, which is no folder",
        "a.png/*": "a.png, which is no folder",
        "../in/*/../*.png": "matches nothing",
    }.items():
        with pytest.raises(InputError, match=sentence):
            list_jobs(tree / pattern, tmp_path / "out")


def test_outputs_may_lie_beside_the_inputs_of_a_pattern_but_not_among_them(tree, tmp_path):
    job_list = list_jobs(tree / "*.jpg", tree)
    assert [job.output for job in job_list] == [tree / "b.png"]
    assert list_jobs(tree / "*.jpg", tree / "out").total == 1
    assert list_jobs(tree / "**" / "*.jpg", tree / "out").total == 3
    with pytest.raises(OutputError, match=r"a\.png would replace its own input"):
        list_jobs(tree / "*.png", tree, RunOptions(overwrite=True))
    with pytest.raises(OutputError, match=r"out/a\.png would lie among the inputs .*in/\*\*/\*\.png"):
        list_jobs(tree / "**" / "*.png", tree / "out", RunOptions(overwrite=True))
    (tmp_path / "link").symlink_to(tree / "sub")
    with pytest.raises(OutputError, match="would lie among the inputs"):
        list_jobs(tree / "**" / "*.*g", tmp_path / "link", RunOptions(overwrite=True))


def test_many_wildcards_take_no_longer_than_few():
    pattern = Pattern(*["**"] * 200, "*.png")
    states = pattern.start
    for _ in range(200):
        states = pattern.below(states, "x")
    assert pattern.takes(states, "a.png")
    assert not pattern.takes(states, "a.jpg")
    assert len(states) <= 201
