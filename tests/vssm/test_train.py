"""A training that was interrupted ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import vssm
from vssm.data import Images
from vssm.recipe import Recipe, RecipeError
from vssm.train import train
from vssm.training.display import TrainingDisplay
from vssm.training.errors import StoppedError, TrainingError
from vssm.training.state import StateFileError, read_state, write_state
from vssm.training.trainer import Metrics, Trainer, kl_weight, learning_rate

MakeRecipe = Callable[..., Recipe]

EVERY_STEP = "training.checkpoint_every_seconds=1e-9"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing curves takes longer than a tiny training; one test looks at them."""
    if "picture" not in request.node.name:
        monkeypatch.setattr("vssm.train.draw_curves", lambda *_: None)


class Stop(BaseException):
    """Stands for a death of the process."""


class StopAt(TrainingDisplay):
    """Ends the training without warning right after a step, before anything of it is recorded."""

    def __init__(self, recipe: Recipe, at: int) -> None:
        super().__init__(recipe)
        self._at = at

    def step(self, step: int) -> None:
        if step == self._at:
            raise Stop


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def weights_of(folder: Path) -> bytes:
    return (folder / "best" / "model.safetensors").read_bytes()


def same_training(a: Path, b: Path) -> bool:
    """Compare all weights, moments, averages, records and the checkpoint, bit for bit."""
    first, second = (load_file(folder / "state.safetensors") for folder in (a, b))
    assert first.keys() == second.keys()
    tensors = all(torch.equal(first[name], second[name]) for name in first)
    return tensors and metrics_of(a) == metrics_of(b) and weights_of(a) == weights_of(b)


# -- what a training leaves --------------------------------------------------------------------------------


def test_a_training_learns_and_leaves_checkpoint_records_and_picture(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    recipe = make_recipe("training.steps=100", "training.validation_every_steps=50")
    result = train(recipe, tmp_path / "run", source=images)
    validations = [r for r in metrics_of(result.checkpoint.parent) if r["split"] == "validation"]
    assert [r["step"] for r in validations] == [50, 100]
    assert validations[1]["bound"] > validations[0]["bound"] + 1
    assert result.bound == max(r["bound"] for r in validations)
    assert len(validations[0]["kl"]) == 2
    assert validations[0]["bound"] == pytest.approx(
        validations[0]["log_likelihood"] - sum(validations[0]["kl"]), abs=1e-3
    )
    assert (tmp_path / "run" / "metrics.png").read_bytes().startswith(b"\x89PNG")
    model = vssm.load(result.checkpoint)
    assert model.config == recipe.model
    card = (result.checkpoint / "README.md").read_text()
    assert f"{-result.bound:.2f} nats" in card
    assert "learning_rate = 0.01" in card


def test_the_checkpoint_has_the_best_averaged_weights(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = iter([-3.0, -1.0, -2.0])  # after steps 4, 8 and 12
    validated: list[dict[str, torch.Tensor]] = []

    def validate(model: vssm.VSSM, *_: Any) -> Metrics:
        validated.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return Metrics(next(bounds), 0.0, (0.0, 0.0), 0.0)

    monkeypatch.setattr("vssm.train.validate", validate)
    result = train(make_recipe(), tmp_path, source=images)
    assert (result.step, result.bound) == (8, -1.0)
    best = vssm.load(result.checkpoint).state_dict()
    same = [all(torch.equal(best[name], weights[name]) for name in best) for weights in validated]
    assert same == [False, True, False]


def test_averaged_weights_follow_the_trained_ones(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    """The reference: the average that the recipe asks for, taken over the weights after every step."""
    weights: list[dict[str, torch.Tensor]] = []

    class Watched(Trainer):
        def advance(self) -> None:
            super().advance()
            weights.append({name: p.detach().clone() for name, p in self.model.named_parameters()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vssm.train.Trainer", Watched)
        train(make_recipe("training.ema_decay=0.25", "training.warmup_steps=0"), tmp_path, source=images)
    state = load_file(tmp_path / "state.safetensors")
    for name, last in weights[-1].items():
        torch.testing.assert_close(state[f"trainer.model.{name}"], last, rtol=0, atol=0)
        parts = [0.75 * 0.25**k * weights[-1 - k][name] for k in range(12)]
        expected = torch.stack(parts).sum(0)  # the first steps and the start weigh next to nothing
        torch.testing.assert_close(state[f"trainer.averaged.{name}"], expected, rtol=1e-4, atol=1e-5)


def test_training_twice_gives_the_same_bits_and_another_seed_others(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(make_recipe(f"training.seed={seed}"), tmp_path / name, source=images)
    assert same_training(tmp_path / "a", tmp_path / "b")
    assert not same_training(tmp_path / "a", tmp_path / "c")


def test_a_training_leaves_the_global_generator_alone(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make_recipe("training.steps=2"), tmp_path, source=images)
    assert torch.equal(torch.rand(3), expected)


def test_held_out_images_are_not_trained_on(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    """Blackening the validation images changes the validation bound, and no weight."""
    black = Images(images.images.copy(), images.labels)
    black.images[-20:] = 255
    train(make_recipe("training.validation_every_steps=12"), tmp_path / "a", source=images)
    train(make_recipe("training.validation_every_steps=12"), tmp_path / "b", source=black)
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")
    assert metrics_of(tmp_path / "a")[-1] != metrics_of(tmp_path / "b")[-1]


# -- interrupted and resumed -------------------------------------------------------------------------------


def interrupted(recipe: Recipe, folder: Path, images: Images, stops: list[int]) -> None:
    for at in stops:
        with pytest.raises(Stop):
            train(recipe, folder, source=images, display=StopAt(recipe, at))
    train(recipe, folder, source=images)


@pytest.mark.parametrize("stops", [[1], [5], [3, 4, 9], [12]])
def test_resumed_is_uninterrupted(make_recipe: MakeRecipe, images: Images, tmp_path: Path, stops: list[int]) -> None:
    train(make_recipe(), tmp_path / "whole", source=images)
    interrupted(make_recipe(EVERY_STEP), tmp_path / "cut", images, stops)
    whole, cut = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert same_training(tmp_path / "whole", tmp_path / "cut")


def test_noise_that_goes_on_from_step_to_step_is_caught(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: with noise from a generator that runs on, a resumed training is another one."""

    class Endless(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._noise = _Endless()

    monkeypatch.setattr("vssm.train.Trainer", Endless)
    train(make_recipe(), tmp_path / "whole", source=images)
    interrupted(make_recipe(EVERY_STEP), tmp_path / "cut", images, [5])
    assert not same_training(tmp_path / "whole", tmp_path / "cut")


class _Endless(torch.Generator):
    def manual_seed(self, seed: int) -> torch.Generator:
        return self


def test_records_beyond_the_saved_step_are_forgotten(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    """Without any save on the way, a stop leaves records and a checkpoint of steps that are done again."""
    recipe = make_recipe()
    with pytest.raises(Stop):
        train(recipe, tmp_path / "cut", source=images, display=StopAt(recipe, 11))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "spl')  # cut short in the middle of a line
    train(recipe, tmp_path / "cut", source=images)
    train(recipe, tmp_path / "whole", source=images)
    assert same_training(tmp_path / "whole", tmp_path / "cut")


def test_a_damaged_checkpoint_is_made_again(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    train(make_recipe(), tmp_path, source=images)
    before = weights_of(tmp_path)
    (tmp_path / "best" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".best.old").mkdir()
    result = train(make_recipe(), tmp_path, source=images)
    assert weights_of(tmp_path) == before
    assert not (tmp_path / ".best.old").exists()
    assert result.step in (4, 8, 12)


NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from conftest import TINY, make_images
from vssm.recipe import parse_toml
import vssm.train

vssm.train.draw_curves = lambda *_: None
torch.set_num_threads(1)
recipe = parse_toml(TINY, "tiny", sys.argv[3:])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        vssm.train.train(recipe, sys.argv[2], source=make_images(100))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

KILLED = ("training.steps=40", "training.checkpoint_every_seconds=0.03")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that forks a training for every line it is given, and prints its pid and how it ended."""
    here, errors = str(Path(__file__).parent), tmp_path / "errors"
    command = [sys.executable, "-c", NURSERY, here, str(tmp_path / "killed"), *KILLED]
    with (
        errors.open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_killed_at_random_moments_is_uninterrupted(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, nursery: subprocess.Popen[str]
) -> None:
    started = time.monotonic()
    train(make_recipe(*KILLED), tmp_path / "whole", source=images)
    whole_seconds = time.monotonic() - started
    seed = random.SystemRandom().randrange(10**9)
    print(f"moments of seed {seed}")
    moments = random.Random(seed)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    kills = 0
    for _ in range(40):
        nursery.stdin.write("train\n")
        nursery.stdin.flush()
        child = int(nursery.stdout.readline())
        if kills < 5:
            time.sleep(moments.uniform(0, whole_seconds / 3))
            os.kill(child, signal.SIGKILL)  # the nursery has not waited for it, or it ended: the pid is still its
        code = int(nursery.stdout.readline())
        kills += code == -signal.SIGKILL
        if code == 0:
            break
        assert code == -signal.SIGKILL, (tmp_path / "errors").read_text()
    assert kills >= 3
    assert same_training(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_and_goes_on_later(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, number: signal.Signals
) -> None:
    class Ask(TrainingDisplay):
        def step(self, step: int) -> None:
            if step == 7:
                signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match="stopped at step 7"):
        train(make_recipe(), tmp_path / "cut", source=images, display=Ask(make_recipe()))
    assert signal.getsignal(number) == before
    train(make_recipe(), tmp_path / "cut", source=images)
    train(make_recipe(), tmp_path / "whole", source=images)
    assert same_training(tmp_path / "whole", tmp_path / "cut")


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("training.validation_every_steps=2", EVERY_STEP)
    original = Trainer.advance

    def poisoned(self: Trainer) -> None:
        if self.step == 6:
            next(self.model.parameters()).data.fill_(torch.nan)
        original(self)

    monkeypatch.setattr(Trainer, "advance", poisoned)
    with pytest.raises(TrainingError, match=r"no longer finite at step 7.*step 6 .*learning_rate"):
        train(recipe, tmp_path, source=images)
    state = load_file(tmp_path / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert vssm.load(tmp_path / "best").generate(num_samples=1).values.shape == (1, 8, 8)
    monkeypatch.undo()
    train(recipe, tmp_path, source=images)
    train(make_recipe("training.validation_every_steps=2"), tmp_path.with_name("whole"), source=images)
    assert same_training(tmp_path, tmp_path.with_name("whole"))


def test_another_recipe_is_refused_unless_restarted(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    train(make_recipe(), tmp_path, source=images)
    other = make_recipe("training.steps=13", "model.decoder.state=8")
    with pytest.raises(TrainingError, match=r"model.decoder was .*training.steps was 12, is 13.*--restart"):
        train(other, tmp_path, source=images)
    train(other, tmp_path, source=images, restart=True)
    assert metrics_of(tmp_path)[-1]["step"] == 13


@pytest.mark.parametrize("damage", [b"", b"half of it", None])
def test_a_damaged_state_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, damage: bytes | None
) -> None:
    train(make_recipe(), tmp_path, source=images)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10] if damage is None else damage)
    with pytest.raises(StateFileError, match=r"cannot resume from .*state.safetensors.*--restart"):
        train(make_recipe(), tmp_path, source=images)


@pytest.mark.parametrize("name", ["model.embed.weight", "optimizer.exp_avg.embed.weight", "sums"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_state_that_does_not_fit_is_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, name: str, missing: bool
) -> None:
    train(make_recipe(), tmp_path, source=images)
    path = tmp_path / "state.safetensors"
    state = read_state(path)
    tensor = state.trainer.pop(name)
    if not missing:
        state.trainer[name] = tensor[:1]
    write_state(path, state)
    wrong = f"has no {name}" if missing else rf"its {name} has shape .1.*, not "
    with pytest.raises(StateFileError, match=rf"cannot resume from .*{wrong}.*--restart"):
        train(make_recipe(), tmp_path, source=images)


def test_a_folder_of_something_else_is_refused(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    with pytest.raises(TrainingError, match="has best but no training state"):
        train(make_recipe(), tmp_path, source=images)


def test_two_trainings_in_one_folder_are_refused(make_recipe: MakeRecipe, images: Images, tmp_path: Path) -> None:
    class Second(TrainingDisplay):
        def step(self, step: int) -> None:
            train(make_recipe(), tmp_path, source=images)

    with pytest.raises(TrainingError, match="another training is running"):
        train(make_recipe(), tmp_path, source=images, display=Second(make_recipe()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.validation_examples=100"], "data.validation_examples: 100 of 100 examples"),
        (["training.batch_size=81"], "training.batch_size: .*larger than the 80"),
        (
            ["model.length=3", "model.image.height=3"],
            "model.length, model.size: images of 8x8 have 64 values, .* = 24",
        ),
    ],
)
def test_data_that_do_not_fit_the_recipe_are_refused(
    make_recipe: MakeRecipe, images: Images, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(make_recipe(*settings), tmp_path, source=images)


# -- schedules ---------------------------------------------------------------------------------------------


def test_learning_rate_rises_then_falls_along_a_cosine(make_recipe: MakeRecipe) -> None:
    settings = make_recipe("training.steps=103", "training.warmup_steps=3").training
    rates = [learning_rate(step, settings) / settings.learning_rate for step in range(104)]
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert rates[53] == pytest.approx(0.5)
    assert rates[103] == pytest.approx(0)
    assert all(a > b for a, b in pairwise(rates[3:]))


def test_kl_weight_rises_to_one(make_recipe: MakeRecipe) -> None:
    settings = make_recipe("training.kl_warmup_steps=4", "training.kl_warmup_start=0.2").training
    assert [kl_weight(step, settings) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert kl_weight(0, make_recipe("training.kl_warmup_steps=0").training) == 1
