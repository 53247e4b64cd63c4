"""Mixed precision rounds what goes into products and nothing else, and trains nearly as float32 does."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from tests.vssm.baselines.rivals import FAMILIES, rival
from tests.vssm.conftest import config_of
from vssm.data import Images
from vssm.examples import examples
from vssm.model import VSSM
from vssm.recipe import Recipe
from vssm.training.precision import BFloat16Products, products
from vssm.training.trainer import Trainer


def test_products_are_rounded_and_sums_are_not() -> None:
    x, weight = torch.randn(5, 64), torch.randn(3, 64)
    with BFloat16Products():
        product, total = F.linear(x, weight), x + 1e-4
    assert product.dtype == torch.float32
    assert torch.equal(product, (x.bfloat16() @ weight.bfloat16().T).float())
    assert not torch.equal(product, F.linear(x, weight))
    assert torch.equal(total, x + 1e-4)


def test_tf32_rounds_attention_and_leaves_the_setting_as_it_was() -> None:
    x, q = torch.randn(5, 64), torch.randn(1, 2, 7, 8)
    whole, before = F.scaled_dot_product_attention(q, q, q), torch.backends.cuda.matmul.fp32_precision
    with products("tf32"):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.equal(F.linear(x, x), x @ x.T)  # on a CPU
        rounded = F.scaled_dot_product_attention(q, q, q)
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert not torch.equal(rounded, whole)
    assert torch.allclose(rounded, whole, atol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_scans_of_rivals_go_through_it(family: str) -> None:
    model = rival(family).requires_grad_()
    x = (torch.rand(4, 25, model.config.size, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    whole = model.elbo(x).nats
    with BFloat16Products():
        rounded = model.elbo(x).nats
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert not torch.equal(whole, rounded)
    assert torch.allclose(whole, rounded, rtol=0.02)
    assert all(
        p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all()) for p in model.parameters()
    )


def test_training_in_bfloat16_is_near_float32(make_recipe: Callable[..., Recipe], images: Images) -> None:
    found = {}
    for precision in ("float32", "bfloat16", "tf32"):
        recipe = make_recipe("training.steps=60", f'training.precision="{precision}"')
        trainer = Trainer(recipe, examples(recipe, images, None).training)
        for _ in range(60):
            trainer.advance()
        found[precision] = trainer.take_metrics().bound
    assert found["bfloat16"] != found["float32"] == found["tf32"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02)


def test_a_vssm_is_float32_outside_its_products(make_recipe: Callable[..., Recipe]) -> None:
    model = VSSM(config_of(make_recipe()))
    x = torch.zeros(2, 8, 8)
    with BFloat16Products():
        elbo = model.elbo(x, torch.Generator().manual_seed(0))
    assert {t.dtype for t in (elbo.nats, elbo.log_likelihood, elbo.kl)} == {torch.float32}
