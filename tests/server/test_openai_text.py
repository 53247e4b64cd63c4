"""The text of a completion does not depend on how its bytes are cut, and is that of the plain definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vssm_server.api.openai.text import Text

SMALL = st.lists(st.sampled_from([b"a", b"b", b"\n", "é".encode(), "€".encode(), b"\xc3", b"\xff"]), max_size=20)
STOPS = st.lists(st.text("ab\né", min_size=1, max_size=3), max_size=4)


def reference(data: bytes, stops: list[str]) -> tuple[str, int, bool]:
    """Byte by byte: text before the first stop string that is complete, bytes used, whether it was one."""
    for end in range(1, len(data) + 1):
        ending = [stop.encode() for stop in stops if data[:end].endswith(stop.encode())]
        if ending:
            return data[: end - max(map(len, ending))].decode(errors="replace"), end, True
    return data.decode(errors="replace"), len(data), False


@given(SMALL, STOPS, st.lists(st.integers(1, 5)))
def test_any_cut_gives_the_text_of_the_definition(parts: list[bytes], stops: list[str], cuts: list[int]) -> None:
    data, text = b"".join(parts), Text(tuple(stop.encode() for stop in stops))
    said, at = "", 0
    for steps in [*cuts, len(data)]:
        said += text.add(data[at : at + steps])
        at += steps
    said += text.end()
    assert (said, text.tokens, text.stopped) == reference(data, stops)


@pytest.mark.parametrize(("stops", "said"), [((), "a"), ((b"ab",), ""), ((b"b",), "a")])
def test_only_the_beginning_of_a_stop_string_is_held_back(stops: tuple[bytes, ...], said: str) -> None:
    assert Text(stops).add(b"a") == said


def test_an_echoed_prompt_may_end_within_a_character() -> None:
    text = Text((b"x",), echoed="x€".encode()[:-1])
    assert text.add("€".encode()[-1:] + b"x") == "x€"
    assert text.stopped
