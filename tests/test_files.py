import os

import pytest

from p2p_deploy.errors import OutputError
from p2p_deploy.files import parents_made, refuse_existing, replacing, sha256, temporary_name


def test_a_file_appears_whole(tmp_path):
    with replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_or_not_at_all(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_that_were_made_for_a_file_go_when_it_fails(tmp_path):
    (tmp_path / "old").mkdir()
    path = tmp_path / "old" / "new" / "newer" / "a.txt"
    with pytest.raises(RuntimeError), parents_made(path):  # noqa: PT012
        assert path.parent.is_dir()
        raise RuntimeError
    assert [found.name for found in tmp_path.rglob("*")] == ["old"]
    with pytest.raises(RuntimeError), parents_made(path):  # noqa: PT012
        (path.parent.parent / "precious").write_text("")
        raise RuntimeError
    assert (path.parent.parent / "precious").exists()
    with parents_made(path):
        pass
    assert path.parent.is_dir()


def test_the_systems_refusal_becomes_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), replacing(tmp_path / "file" / "a.txt"):
        pass


def test_temporary_names_fit_any_disk_and_are_never_given_twice(tmp_path):
    path = tmp_path / ("ä" * 120 + ".png")
    names = {temporary_name(path).name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(".") and name.endswith(".png") and len(os.fsencode(name)) < 255 for name in names)


def test_existing_files_are_refused_unless_they_may_be_replaced(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    paths = [tmp_path / name for name in "abc"]
    with pytest.raises(OutputError, match=r"a and 1 more exists already.*overwrite=True"):
        refuse_existing(paths, overwrite=False)
    refuse_existing(paths, overwrite=True)


def test_sha256(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sha256(tmp_path / "empty").startswith("e3b0c442")
