"""Settings come from the environment; what is not known is reported."""

import pytest
from vssm_server.settings import Settings, unknown_variables


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSSM_MAX_LENGTH", "77")
    assert Settings().max_length == 77


def test_unknown_variables_are_named_with_the_closest() -> None:
    assert unknown_variables({"VSSM_MAX_LENGHT": "1", "VSSM_DATA": "/d", "PATH": "x"}) == [
        "VSSM_MAX_LENGHT is not a setting; did you mean VSSM_MAX_LENGTH."
    ]


def test_children_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(max_length=5, redis_url="redis://x", models="a,b")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
