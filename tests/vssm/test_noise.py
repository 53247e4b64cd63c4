"""Noise: the published Philox vectors, the reference beside the compiled path, and purity in every argument."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from vssm.noise import MAX_SEED, Counters, Kind, draw_reference, exact_log, normal_quantile, philox

KINDS: tuple[Kind, ...] = ("word", "normal", "logistic", "gumbel")


def counters(seed: int, sample: int, position: int) -> Counters:
    return Counters(*(torch.tensor([v], dtype=torch.int64) for v in (seed, sample, position)))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # known answers published with Random123
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    words = philox(tuple(torch.tensor([c]) for c in counter), (torch.tensor([key[0]]), torch.tensor([key[1]])))
    assert tuple(int(w) for w in words) == expected


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, MAX_SEED),
    sample=st.integers(0, 2**32 - 1),
    position=st.integers(0, 2**47),
    purpose=st.integers(0, 63),
    steps=st.integers(1, 40),
    width=st.integers(1, 19),
    kind=st.sampled_from(KINDS),
)
def test_compiled_noise_has_the_bits_of_the_reference(
    seed: int, sample: int, position: int, purpose: int, steps: int, width: int, kind: Kind
) -> None:
    c = counters(seed, sample, position)
    assert torch.equal(c.draw(kind, purpose, steps, width), draw_reference(c, kind, purpose, steps, width))


@given(cut=st.integers(1, 29), position=st.integers(0, 2**47))
@settings(max_examples=20, deadline=None)
def test_noise_does_not_depend_on_where_a_window_starts(cut: int, position: int) -> None:
    whole = counters(5, 2, position).draw("normal", 16, 30, 7)
    later = counters(5, 2, position + cut).draw("normal", 16, 30 - cut, 7)
    assert torch.equal(whole[:, cut:], later)


def test_noise_does_not_depend_on_the_rows_beside_it() -> None:
    many = Counters(torch.arange(9), torch.arange(9) * 3, torch.arange(9) * 100)
    together = many.draw("normal", 1, 6, 5)
    for r in range(9):
        assert torch.equal(together[r], counters(r, 3 * r, 100 * r).draw("normal", 1, 6, 5)[0])


def test_every_argument_changes_the_noise() -> None:
    base = counters(1, 2, 3).draw("word", 4, 8, 4)
    others = [
        counters(9, 2, 3).draw("word", 4, 8, 4),
        counters(1 + 2**32, 2, 3).draw("word", 4, 8, 4),
        counters(1, 9, 3).draw("word", 4, 8, 4),
        counters(1, 2, 3 + 2**32).draw("word", 4, 8, 4),
        counters(1, 2, 3).draw("word", 5, 8, 4),
    ]
    for other in others:
        assert not (base == other).any()


def test_distributions() -> None:
    c = Counters(torch.arange(4), torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    distributions = {"normal": stats.norm, "logistic": stats.logistic, "gumbel": stats.gumbel_r}
    for kind, distribution in distributions.items():
        values = c.draw(kind, 0, 500, 50).double().numpy().ravel()  # type: ignore[arg-type]
        assert stats.kstest(values, distribution.cdf).pvalue > 1e-4, kind


def test_transforms_are_accurate() -> None:
    u = torch.from_numpy(np.concatenate([np.linspace(1e-9, 1 - 1e-9, 100_001), 2.0 ** -np.arange(1, 34)]))
    assert (exact_log(u) / torch.log(u) - 1).abs().max() < 1e-14
    assert (normal_quantile(u) - torch.from_numpy(ndtri(u.numpy()))).abs().max() < 1e-13
