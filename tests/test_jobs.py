import pytest

from p2p_deploy.errors import InputError, OutputError
from p2p_deploy.jobs import plan_jobs


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    for name in ("b.jpg", "a.PNG", "clip.mp4", "notes.txt", ".hidden.png", "sub/c.webp", "sub/deeper/d.tif"):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return source


def names(plan, out):
    return {job.name: job.output.relative_to(out).as_posix() for job in plan.jobs}


def test_a_folder_of_both_becomes_png_and_clips(folder, tmp_path):
    plan = plan_jobs(folder, tmp_path / "out")
    assert names(plan, tmp_path / "out") == {"a.PNG": "a.png", "b.jpg": "b.png", "clip.mp4": "clip.mp4"}
    assert plan.ignored == 1


def test_recursion_mirrors_the_tree(folder, tmp_path):
    found = names(plan_jobs(folder, tmp_path / "out", recursive=True), tmp_path / "out")
    assert found["sub/c.webp"] == "sub/c.png"
    assert found["sub/deeper/d.tif"] == "sub/deeper/d.png"


def test_two_inputs_never_share_an_output(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.jpg", "a.bmp", "A.png", "b.png"):
        (source / name).write_bytes(b"x")
    found = names(plan_jobs(source, tmp_path / "out"), tmp_path / "out")
    assert found == {"A.png": "A.png.png", "a.bmp": "a.bmp.png", "a.jpg": "a.jpg.png", "b.png": "b.png"}


def test_a_single_input_goes_into_a_folder_or_to_a_file(folder, tmp_path):
    plan = plan_jobs(folder / "b.jpg", tmp_path / "out")
    assert plan.jobs[0].output == tmp_path / "out" / "b.png"
    assert plan.folder == tmp_path / "out"
    plan = plan_jobs(folder / "b.jpg", tmp_path / "done.jpg")
    assert plan.jobs[0].output == tmp_path / "done.jpg"
    assert plan.folder is None
    existing = tmp_path / "folder.png"
    existing.mkdir()
    assert plan_jobs(folder / "b.jpg", existing).jobs[0].output == existing / "b.png"


def test_links_to_folders_are_not_followed(folder, tmp_path):
    (folder / "sub" / "loop").symlink_to(folder)
    assert len(plan_jobs(folder, tmp_path / "out", recursive=True).jobs) == 5


@pytest.mark.parametrize("out", ["in", "in/out", "in/sub/out", "elsewhere/../in/out"])
def test_an_output_folder_inside_the_input_folder_is_refused(folder, tmp_path, out):
    with pytest.raises(OutputError, match="lies inside the input folder"):
        plan_jobs(folder, tmp_path / out)


def test_a_link_into_the_input_folder_is_seen_through(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder / "sub")
    with pytest.raises(OutputError, match="lies inside the input folder"):
        plan_jobs(folder, tmp_path / "link")


def test_an_output_never_replaces_its_own_input(folder):
    with pytest.raises(OutputError, match="replace its own input"):
        plan_jobs(folder / "sub" / "c.webp", folder / "sub" / "c.webp", overwrite=True)


def test_existing_outputs_are_refused_before_any_work(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"b\.png exists already.*--overwrite"):
        plan_jobs(folder, tmp_path / "out")
    assert len(plan_jobs(folder, tmp_path / "out", overwrite=True).jobs) == 3


def test_nothing_to_do_is_an_error_that_says_where_to_look(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images or videos"):
        plan_jobs(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "sub").mkdir()
    with pytest.raises(InputError, match="1 sub-folders; add --recursive"):
        plan_jobs(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        plan_jobs(tmp_path / "missing", tmp_path / "out")


def test_files_that_cannot_fit_together_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="by its suffix"):
        plan_jobs(folder / "notes.txt", tmp_path / "out")
    with pytest.raises(OutputError, match="a still image and cannot become"):
        plan_jobs(folder / "b.jpg", tmp_path / "b.mp4")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="is a file"):
        plan_jobs(folder, tmp_path / "file")
