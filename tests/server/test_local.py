"""What `serve` decides for its processes."""

import pytest
from vssm_server.local import threads_of
from vssm_server.settings import Settings


@pytest.mark.parametrize(
    ("threads", "workers", "cores", "expected"),
    [(0, 1, 2, 1), (0, 1, 1, 1), (0, 1, 16, 15), (0, 4, 16, 3), (0, 8, 2, 1), (5, 1, 2, 5)],
)
def test_a_core_is_left_to_api_and_redis(threads: int, workers: int, cores: int, expected: int) -> None:
    assert threads_of(Settings(threads=threads, workers=workers), cores) == expected
