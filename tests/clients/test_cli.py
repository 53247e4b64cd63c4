"""`vssm-client` as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clients.proxy import Proxy, free_port
from tests.e2e.serving import Serve, values


def run(url: str, *words: str, code: int = 0, stdin: bytes = b"", **more: str) -> tuple[str, str]:
    """Output and messages of a command that ends with this code, and never with a traceback."""
    command = [sys.executable, "-m", "vssm_client", *words]
    environment = {**os.environ, "VSSM_URL": url, "COLUMNS": "200", **more}
    done = subprocess.run(command, env=environment, input=stdin, capture_output=True, timeout=60, check=False)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, err
    assert "Traceback" not in err
    return out, err


def test_a_picture(url: str, tmp_path: Path) -> None:
    path = tmp_path / "digits.png"
    out, err = run(url, "generate", "--model", "image", "--num-samples", "16", "--seed", "7", "--out", str(path))
    with Image.open(path) as image:
        assert image.size == (4 * 8 + 5 * 2,) * 2
    assert (out, err.strip()) == ("", f"{path}: seed 7")


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_files_of_every_form(serve: Serve, url: str, tmp_path: Path, stream: list[str]) -> None:
    asked = ["generate", "--num-samples", "2", "--seed", "7", *stream, "--out"]
    told = serve.generate(model="image", num_samples=2, seed=7)
    run(url, *asked, str(tmp_path / "a.npy"), "--model", "image")
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.uint8
    assert array.tolist() == values(told)
    run(url, *asked, str(tmp_path / "a.json"), "--model", "image")
    assert values(json.loads((tmp_path / "a.json").read_text())) == values(told)
    run(url, *asked, str(tmp_path / "a.txt"), "--model", "text", "--length", "30")
    texts = [output["text"] for output in serve.generate(model="text", num_samples=2, seed=7, length=30)["outputs"]]
    assert (tmp_path / "a.txt").read_bytes().decode() == "\n\n".join(texts)


def test_standard_output(serve: Serve, url: str) -> None:
    told = serve.generate(model="text", seed=1, length=300, temperature=0)["outputs"][0]["text"]
    asked = ["generate", "--model", "text", "--seed", "1", "--length", "300", "--temperature", "0"]
    assert run(url, *asked)[0] == run(url, *asked, "--stream")[0] == told + "\n"
    assert json.loads(run(url, *asked, "--json")[0])["outputs"][0]["text"] == told
    lines = run(url, "generate", "--model", "pixels", "--length", "300", "--stream")[0].splitlines()
    assert [json.loads(line)["position"] for line in lines][-1] == 300
    assert len(lines) > 2


def test_prefixes(serve: Serve, url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([0, 1, 1]))
    (tmp_path / "a.json").write_text("[0, 1, 1]")
    (tmp_path / "a.txt").write_text("h\u00e9")
    asked = ["generate", "--length", "9", "--seed", "1", "--json", "--prefix"]
    told = values(serve.generate(model="pixels", prefix=[0, 1, 1], length=9, seed=1))
    for name in ("a.npy", "a.json"):
        assert values(json.loads(run(url, *asked, str(tmp_path / name), "--model", "pixels")[0])) == told
    told = values(serve.generate(model="text", prefix="h\u00e9", length=9, seed=1))
    assert values(json.loads(run(url, *asked, str(tmp_path / "a.txt"), "--model", "text")[0])) == told
    assert values(json.loads(run(url, *asked, "-", "--model", "text", stdin="h\u00e9".encode())[0])) == told


def test_sessions(serve: Serve, url: str) -> None:
    out, err = run(url, "generate", "--model", "pixels", "--length", "5", "--save", "--json")
    session_id = json.loads(out)["session_id"]
    assert f"to go on: vssm-client generate --session {session_id}" in err
    copy = run(url, "fork", session_id)[0].strip()
    ends = [run(url, "generate", "--session", name, "--length", "7", *more)[0].splitlines()[-1]
            for name, more in ((session_id, []), (copy, ["--stream"]))]  # fmt: skip
    assert [json.loads(line)["position"] for line in ends] == [12, 12]
    assert json.loads(run(url, "session", copy)[0])["position"] == 12
    run(url, "delete", session_id)
    assert "error: " in run(url, "session", session_id, code=2)[1]


def test_models_and_quantiles(url: str) -> None:
    listed = run(url, "models")[0]
    assert "truncated" in listed
    assert any(line.split()[:4] == ["image", "ready", "image", "8"] for line in listed.splitlines())
    assert {model["name"] for model in json.loads(run(url, "models", "--json")[0])} >= {"image", "text"}
    asked = ["generate", "--model", "series", "--num-samples", "4", "--quantile", "0.1", "--quantile", "0.9"]
    assert [each["quantile"] for each in json.loads(run(url, *asked)[0])["quantiles"]] == [0.1, 0.9]


def test_progress_on_a_terminal(url: str, tmp_path: Path) -> None:
    asked = ["generate", "--model", "pixels", "--length", "5000", "--out", str(tmp_path / "a.npy")]
    for stream, shown in (([], "pixels"), (["--stream"], "100%")):
        assert shown in run(url, *asked, *stream, FORCE_COLOR="1")[1]
    assert "100%" not in run(url, *asked, "--stream")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "minst"], "minst"),
        (["--model", "pixels", "--length", "200000"], "length must be"),
        (["--model", "pixels", "--out", "x.gif"], "--out: the name must end in .png"),
        (["--model", "pixels", "--out", "nowhere/x.npy"], "there is no folder nowhere"),
        (["--model", "image", "--out", "x.png", "--stream"], "cannot be streamed"),
        (["--model", "pixels", "--length", "3", "--out", "{folder}/x.txt"], "makes no text"),
        (["--model", "pixels", "--prefix", "missing.npy"], "missing.npy: No such file"),
        (["--model", "pixels", "--prefix", "{folder}/bad.json"], "bad.json is no JSON"),
        (["--model", "pixels", "--prefix", "{folder}/bad.txt"], "bad.txt is no UTF-8 text"),
        (["--model", "pixels", "--num-samples", "0"], "--num-samples"),
        (["--url", "localhost"], "base_url"),
        (["--session", "../x"], "session"),
    ],
)
def test_mistakes_end_with_advice(url: str, tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    _, err = run(url, "generate", *(word.format(folder=tmp_path) for word in words), code=2)
    assert says in err


def test_no_server_and_a_bad_connection(serve: Serve) -> None:
    _, err = run(f"http://127.0.0.1:{free_port()}", "models", "--retries", "1", code=1)
    assert "trying again in" in err
    assert "Connection refused. Is it running? `vssm-server serve` starts one" in err
    between = Proxy(serve.client.base_url.port or 0, [0])
    out, err = run(between.url, "generate", "--model", "text", "--length", "4", "--json")
    between.close()
    assert "trying again in" in err
    assert len(values(json.loads(out))[0]) == 4
