"""Models of the hub are served under their ids."""

from collections.abc import Callable
from pathlib import Path

import pytest

import vssm
from tests.e2e.serving import Serve, values
from tests.vssm.stand_in_hub import serving
from vssm.checkpoint import shipped_folder


def test_a_hub_id_is_served_under_its_name(
    start: Callable[..., Serve], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as hub:
        files = {path.name: path.read_bytes() for path in (shipped_folder() / "mnist").iterdir()}
        repository = hub.add("me/digits", files)
        repository.refs["v1"] = repository.refs["main"]
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        server = start(models="mnist,me/digits@v1,me/missing")
        listed = {model["name"]: model["status"] for model in server.client.get("/models").json()["models"]}
        assert listed == {"mnist": "ready", "me/digits": "ready", "me/missing": "failed"}
        assert server.client.get("/models/me/digits").json()["fingerprint"] == vssm.load("mnist").fingerprint
        body = {"num_samples": 2, "seed": 5}
        by_id, shipped = (values(server.generate(model=name, **body)) for name in ("me/digits", "mnist"))
        assert by_id == shipped
