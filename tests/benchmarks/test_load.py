"""The load process counts right answers only."""

import pytest

from benchmarks.load import whole

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nabcde"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent: chunk\r\n4\r\nevent: done\n\n\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [PLAIN, STREAM])
def test_an_answer_is_whole_at_its_last_byte(answer: bytes) -> None:
    assert [whole(answer[:size], 5) for size in range(len(answer) + 1)] == [False] * len(answer) + [True]


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN.replace(b"200", b"503"),
        PLAIN + b"f",
        PLAIN.replace(b"5", b"4")[:-1],
        STREAM.replace(b"event: done", b"event: error"),
    ],
)
def test_others_are_refused(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"503|answer of"):
        whole(answer, 5)
