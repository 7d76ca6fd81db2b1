"""``p2p check``: each layout, and each thing that can be wrong with it."""

import json
import shutil

import numpy as np
import pytest
from helpers.support import assert_refused, imwrite, invoke, photo_crops, write_images

from p2p_deploy.errors import DataError
from trainers import check_data


def pairs(root, count=12, split="train"):
    frames = photo_crops(count, 72)
    write_images(root / "A" / split, frames)
    write_images(root / "B" / split, 255 - frames)


def test_good_pairs(tmp_path):
    pairs(tmp_path)
    findings = check_data(tmp_path)
    assert (findings.layout, findings.pictures, dict(findings.sizes)) == ("pairs", {"train": 12}, {(72, 72): 12})
    assert findings.problems == []
    assert findings.remarks == ["No pairs in val or test: nothing will be measured, and there will be no best.pt."]
    pairs(tmp_path, 10, "val")
    assert check_data(tmp_path).remarks == []


def test_everything_wrong_with_pairs_is_named_at_once(tmp_path):
    pairs(tmp_path)
    (tmp_path / "A" / "train" / "003.png").write_bytes(b"no picture")
    imwrite(tmp_path / "B" / "train" / "005.png", np.zeros((72, 60, 3), np.uint8))
    pairs(tmp_path, 3, "val")
    (tmp_path / "B" / "val" / "001.png").unlink()
    findings = check_data(tmp_path)
    assert len(findings.problems) == 3
    for problem, words in zip(findings.problems, ("003.png is damaged", "72x60; pairs must", "001"), strict=True):
        assert words in problem


def test_side_by_side_pictures_of_odd_width(tmp_path):
    write_images(tmp_path / "train", photo_crops(2, 64))
    imwrite(tmp_path / "train" / "x.png", np.zeros((64, 65, 3), np.uint8))
    findings = check_data(tmp_path)
    assert len(findings.problems) == 1
    assert "65 pixels wide" in findings.problems[0]
    assert findings.sizes == {(64, 32): 2}
    assert "2 pictures are smaller than 64 pixels; they are enlarged." in findings.remarks


def test_domains_may_differ_in_number_and_size(tmp_path):
    write_images(tmp_path / "trainA", photo_crops(11, 80))
    write_images(tmp_path / "trainB", photo_crops(12, 72))
    findings = check_data(tmp_path)
    assert findings.pictures == {"trainA": 11, "trainB": 12}
    assert findings.problems == []
    assert findings.remarks == ["2 sizes; all are resized to one, whatever their shape."]
    (tmp_path / "trainB").rename(tmp_path / "trainC")
    assert "trainB does not exist" in check_data(tmp_path).problems[0]


def test_label_maps_say_which_labels_occur(tmp_path):
    write_images(tmp_path / "train_img", photo_crops(10, 64))
    for index in range(10):
        imwrite(tmp_path / "train_label" / f"{index:03d}.png", np.full((64, 64), index % 7, np.uint8))
    findings = check_data(tmp_path)
    assert findings.labels == set(range(7))
    assert findings.problems == []
    assert "Labels go from 0 to 6: train with `labels=7`." in findings.remarks
    assert any("instances=False" in remark for remark in findings.remarks)
    imwrite(tmp_path / "train_label" / "003.png", np.zeros((64, 64, 3), np.uint8) + np.uint8([1, 2, 3]))
    write_images(tmp_path / "train_inst", photo_crops(10, 64)[..., :1])
    (problem,) = check_data(tmp_path).problems
    assert "003.png holds colours" in problem
    (tmp_path / "train_img" / "009.png").unlink()
    (problem,) = check_data(tmp_path).problems
    assert "1 pictures have no counterpart of the same name" in problem
    assert "009" in problem


def test_an_unknown_label_is_worth_a_remark(tmp_path):
    write_images(tmp_path / "train_img", photo_crops(2, 64))
    for index, label in enumerate((3, 255)):
        imwrite(tmp_path / "train_label" / f"{index:03d}.png", np.full((64, 64), label, np.uint8))
    assert any("255 often stands for what is unknown" in remark for remark in check_data(tmp_path).remarks)


def test_pictures_in_the_layout_of_pix2pixhd(tmp_path):
    for kind in "AB":
        write_images(tmp_path / f"train_{kind}", photo_crops(10, 64))
    findings = check_data(tmp_path)
    assert (findings.layout, findings.pictures, findings.problems) == ("pairs", {"train": 10}, [])
    shutil.rmtree(tmp_path / "train_B")
    assert "train_B does not exist" in check_data(tmp_path).problems[0]


def test_classes_are_folders(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "train" / name, photo_crops(10, 64))
    (tmp_path / "train" / "empty").mkdir()
    findings = check_data(tmp_path)
    assert findings.layout == "classes"
    assert findings.pictures == {"cat": 10, "dog": 10, "empty": 0}
    assert "empty holds no images" in findings.problems[0]


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="missing is not a folder"):
        check_data(tmp_path / "missing")


def test_the_command(tmp_path):
    pairs(tmp_path)
    result = invoke("check", tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("pairs: 12 in train\n  12 of 72x72 pixels\n")
    assert result.stdout.endswith("nothing wrong was found\n")
    (tmp_path / "A" / "train" / "003.png").write_bytes(b"no picture")
    result = invoke("check", tmp_path)
    assert result.returncode == 1
    assert "problem: " in result.stdout
    document = json.loads(invoke("check", tmp_path, "--json").stdout)
    assert len(document["problems"]) == 1
    assert document["sizes"] == [{"height": 72, "width": 72, "count": 11}]
    assert_refused(invoke("check", tmp_path / "missing"), "is not a folder")
