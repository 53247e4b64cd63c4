"""Files and folders of one's own are read, split and refused with the place of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.vssm.conftest import TINY
from vssm import data
from vssm.cli import app
from vssm.data import DataError

ROWS = np.arange(40, dtype=np.float32).reshape(20, 2) / 4


def write(path: Path, content: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return str(path)


def pictures(folder: Path, count: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, size, i if mode == "L" else (i, 0, 255)).save(folder / f"{i:03}.png")
    return str(folder)


@pytest.mark.parametrize(
    ("head", "line", "separator"),
    [("date,a,b\n", "2024-01-{:02},{},{}\n", ","), ("a;b\n", "{1};{2}\n", ";"), ("", "{1}\t{2}\n", "\t")],
)
def test_a_csv_is_a_series_split_in_its_order(tmp_path: Path, head: str, line: str, separator: str) -> None:
    path = write(tmp_path / "m.csv", head + "".join(line.format(i + 1, a, b) for i, (a, b) in enumerate(ROWS)))
    assert data.splits(path) == ("train", "validation", "test")
    parts = [data.load_series(path, split) for split in data.splits(path)]
    assert [len(part.values) for part in parts] == [16, 2, 2]
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), ROWS)
    assert parts[0].channels == (("a", "b") if head else ("channel 0", "channel 1"))


def test_a_file_for_each_split(tmp_path: Path) -> None:
    write(tmp_path / "train.txt", "to train on")
    write(tmp_path / "test.txt", "to test")
    assert data.splits(str(tmp_path)) == ("train", "test")
    assert data.load_text(str(tmp_path), "test").values.tobytes() == b"to test"
    with pytest.raises(DataError, match=r"no split 'validation', it has train, test"):
        data.load(str(tmp_path), "validation")


def test_a_folder_of_pictures_is_shuffled_once_and_split(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 20)
    parts = [data.load_images(folder, split).images for split in data.splits(folder)]
    assert [part.shape for part in parts] == [(16, 8, 8), (2, 8, 8), (2, 8, 8)]
    assert sorted(np.concatenate(parts)[:, 0, 0].tolist()) == list(range(20))
    assert set(parts[2][:, 0, 0].tolist()) != {18, 19}, "the last by name would be one kind of picture"


def test_pictures_are_in_colour_if_one_is(tmp_path: Path) -> None:
    pictures(tmp_path / "train" / "grey", 2)
    pictures(tmp_path / "train" / "colour", 2, mode="RGB")
    images = data.load_images(str(tmp_path), "train").images
    assert images[:, 0, 0].tolist() == [[0, 0, 255], [1, 0, 255], [0, 0, 0], [1, 1, 1]]


def test_arrays_are_pictures_or_series(tmp_path: Path) -> None:
    images = np.arange(160, dtype=np.uint8).reshape(10, 4, 4)
    np.savez(tmp_path / "p.npz", train=images[:8], test=images[8:])
    assert data.splits(str(tmp_path / "p.npz")) == ("train", "test")
    np.testing.assert_array_equal(data.load_images(str(tmp_path / "p.npz"), "test").images, images[8:])
    np.save(tmp_path / "s.npy", ROWS[:, 0])
    assert data.load_series(str(tmp_path / "s.npy"), "train").values.shape == (16, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "", "is empty"),
        ("m.csv", "a,b\n", "has names, but no rows"),
        ("m.csv", "a,b\n1,2\n3\n", r"step 1: it has 1 numbers, 2 are needed"),
        ("m.csv", "a,b\n1,2\n3,\n", r"step 1, 'b': '' is no number; fill gaps first"),
        ("m.csv", "a,b\n1,2\n3,nan\n", r"step 1, 'b': nan is not finite"),
        ("m.csv", "a\n1\n2\n", "has 2 steps, too few to split: none would be left for"),
        ("m.npy", "no array", "is not a .npy file of numbers"),
        ("m.npz", "no arrays", "is not a .npz file of numbers"),
        ("m.pdf", "", r"a folder of pictures, .csv, .npy, .txt or .npz can be read, not .pdf"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as raised:
        data.load(path, "validation" if name == "m.csv" else "train")
    assert path in str(raised.value)


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        data.load(str(tmp_path / "absent"), "train")
    with pytest.raises(DataError, match="has no pictures"):
        data.load(str(tmp_path), "train")
    pictures(tmp_path / "a", 1)
    pictures(tmp_path / "b", 1, (9, 8))
    with pytest.raises(DataError, match=r"000.png is 8 x 8 and .*b/000.png 9 x 8: make all pictures the same size"):
        data.load(str(tmp_path), "train")
    write(tmp_path / "b" / "001.png", "no picture")
    with pytest.raises(DataError, match=r"b/001.png is no picture that can be read"):
        data.load(str(tmp_path / "b"), "train")
    write(tmp_path / "c" / "test.csv", "1\n")
    with pytest.raises(DataError, match=r"has test.csv, but nothing named train"):
        data.load(str(tmp_path / "c"), "test")
    write(tmp_path / "c" / "train.csv", "1\n")
    write(tmp_path / "c" / "train.txt", "1\n")
    with pytest.raises(DataError, match=r"has both train.csv and train.txt"):
        data.load(str(tmp_path / "c"), "test")


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", training=ROWS)
    with pytest.raises(DataError, match=r"must have an array train, .*it has training"):
        data.load(str(tmp_path / "p.npz"), "train")
    np.save(tmp_path / "p.npy", np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match=r"is float32 \(3, 4, 4\): pictures are uint8"):
        data.load(str(tmp_path / "p.npy"), "train")


def test_damaged_arrays_are_refused_and_need_no_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    np.savez_compressed(tmp_path / "a.npz", train=ROWS)
    whole, packed = (tmp_path / "a.npy").read_bytes(), bytearray((tmp_path / "a.npz").read_bytes())
    shape = str(ROWS.shape).encode()
    for damaged in (whole.replace(shape, b"(%d, 9)" % 2**40), whole.replace(shape, b"((((("), whole[:-1], whole[:9]):
        (tmp_path / "b.npy").write_bytes(damaged)
        with pytest.raises(DataError, match=r"is not a \.npy file of numbers"):
            data.load(str(tmp_path / "b.npy"), "train")
    packed[60:70] = bytes(10)
    (tmp_path / "b.npz").write_bytes(packed)
    with pytest.raises(DataError, match=r"is not a \.npz file of numbers"):
        data.load(str(tmp_path / "b.npz"), "train")


def test_the_whole_way_from_pictures_to_samples(tmp_path: Path) -> None:
    """Train, evaluate and sample, and what the data are."""

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, result.output
        return result.stdout

    folder, out = pictures(tmp_path / "photos", 100), str(tmp_path / "run")
    assert "photos: pictures of 8 x 8, grey: 80 train, 10 validation, 10 test" in run("data", folder)
    recipe = write(tmp_path / "r.toml", TINY.replace('"stripes"\nvalid', f"{json.dumps(folder)}\nvalid"))
    assert f"--dataset {folder} --card" in run("train", recipe, "--out", out, "--set", "training.steps=2")
    assert '"examples": 10' in run("evaluate", f"{out}/best", "--dataset", folder, "--json")
    run("sample", f"{out}/best", "--out", str(tmp_path / "s.png"))


def test_too_short_a_validation_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "x" * 100)
    text = TINY.replace('modality = "image"\nlength = 8\nsize = 8', 'modality = "text"\nlength = 16\nsize = 1')
    text = text.replace("image = { height = 8, width = 8, channels = 1 }\n", "")
    text = text.replace('"bernoulli"', '"categorical", classes = 256').replace('"stripes"\nvalid', f'"{path}"\nvalid')
    result = CliRunner().invoke(app, ["train", write(tmp_path / "r.toml", text), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "validation has 10 steps, fewer than the model's length 16" in result.stderr
