"""Reading events, and going on after a break."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vssm_client import Chunk, UnavailableError
from vssm_client.errors import AnswerError
from vssm_client.events import Delivery, EventReader
from vssm_client.models import Output, Quantile


def test_an_error_event_in_a_stream_is_raised() -> None:
    data = 'data: {"error": {"type": "deadline_exceeded", "message": "m", "param": null, "code": 504}}'
    with pytest.raises(UnavailableError, match="deadline_exceeded"):
        list(EventReader().read(f"event: error\n{data}\n\n".encode()))
    with pytest.raises(AnswerError, match="not an answer of a VSSM server"):
        list(EventReader().read(b"event: chunk\ndata: {}\n\n"))
    assert list(EventReader().read(b"event: \xff\ndata: {}\n\n")) == []  # of a later server, perhaps


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_only_line_feeds_end_lines(size: int) -> None:
    output = '{"index": 0, "values": [226, 128, 168], "text": "a\u2028b\x85c\u2029"}'
    chunk = f': ping\n\nevent: chunk\r\nid: 3\r\ndata: {{"position": 3, "outputs": [{output}]}}\r\n\r\n'.encode()
    reader = EventReader()
    parts = [(2 * chunk)[i : i + size] for i in range(0, 2 * len(chunk), size)]
    events = [event for part in parts for event in reader.read(part)]
    assert [event.outputs[0].text for event in events] == ["a\u2028b\x85c\u2029"] * 2


def chunks(text: str, cuts: list[int], start: int) -> list[Chunk]:
    """One output of ASCII text and its quantile, cut at some places."""
    ends = sorted({cut % (len(text) + 1) for cut in cuts} - {0} | {len(text)})
    parts = zip([0, *ends], ends, strict=False)
    return [
        Chunk(
            position=start + end,
            outputs=[Output(index=0, values=list(text[begin:end].encode()), text=text[begin:end])],
            quantiles=[Quantile(quantile=0.5, values=list(text[begin:end].encode()))],
        )
        for begin, end in parts
    ]


CUTS = st.lists(st.integers(0, 1000), max_size=6)


@given(st.text("abc", min_size=1, max_size=30), st.lists(st.tuples(CUTS, st.integers(0, 6)), max_size=4), CUTS)
def test_however_a_stream_is_cut_and_broken_it_is_delivered_once(
    text: str, broken: list[tuple[list[int], int]], last: list[int]
) -> None:
    delivery, delivered = Delivery(), list[Chunk]()
    for cuts, count in [*broken, (last, 1000)]:
        delivery.connected()
        for chunk in chunks(text, cuts, start=5)[:count]:
            if isinstance(new := delivery.new(chunk), Chunk):
                delivered.append(new)
    assert "".join(chunk.outputs[0].text or "" for chunk in delivered) == text
    assert [value for chunk in delivered for value in chunk.outputs[0].values or []] == list(text.encode())
    assert [value for chunk in delivered for value in (chunk.quantiles or [])[0].values] == list(text.encode())
    assert delivered[-1].position == 5 + len(text)
