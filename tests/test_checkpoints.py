"""A checkpoint of the original: never loaded into a folded module as it is, and folded anew by `load_original`."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import convfold
from convfold.algebra import series
from convfold.algebra.convolution import Convolution
from convfold.plan.search import Search
from tests.folding import STATIC, Net, assert_calls, double, noise
from tests.laws.oracle import assert_close

MACS = convfold.FoldConfig(objective="macs", verify=False)
SHAPE = (2, 3, 5, 6)


def net(seed: int = 0) -> nn.Module:
    """A stretch that is folded, and a layer that is not and keeps its weights' names."""
    return double(
        nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Flatten(),
            nn.Linear(60, 3),
        ),
        seed,
    )


def fold(model: Any, *args: Any, config: convfold.FoldConfig = MACS) -> convfold.Result:
    return convfold.fold(model, args or (noise(*SHAPE),), dynamic_shapes=STATIC, config=config)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def assert_state(module: nn.Module, expected: dict[str, Tensor]) -> None:
    """Bit by bit."""
    found = module.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], t) for name, t in expected.items())


class TestNames:
    def test_a_computed_weight_has_a_name_of_its_own(self) -> None:
        model = net()
        names = set(fold(model).module.state_dict())
        kept = {"3.weight", "3.bias"}
        computed = names - kept
        assert names >= kept and not computed & set(model.state_dict())
        assert {name.rpartition("_")[0] for name in computed} == {
            f"{place}.folded_{kind}" for place in (0, 1) for kind in ("weight", "bias")
        }

    def test_a_name_that_is_taken(self) -> None:
        """By a weight that nothing reads any more, too."""
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double().eval()
        first = next(iter(fold(model).module.state_dict()))
        owner, _, leaf = first.rpartition(".")
        model.get_submodule(owner).register_buffer(leaf, torch.zeros(4, dtype=torch.float64))
        assert first not in fold(model).module.state_dict()

    def test_numbers_do_not_change_them(self) -> None:
        assert list(fold(net(0)).module.state_dict()) == list(fold(net(1)).module.state_dict())

    def test_nor_does_the_process(self) -> None:
        code = "from tests.test_checkpoints import fold, net\nprint('names:', *fold(net()).module.state_dict())"
        path = os.pathsep.join([str(Path(convfold.__file__).parents[1]), str(Path(__file__).parents[1])])
        env = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path}
        out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        assert out.split("names: ")[1].split() == list(fold(net()).module.state_dict())

    def test_another_plan_does(self) -> None:
        """Three pointwise layers as one, or the first two: at the same place, of the same shape."""
        model = double(nn.Sequential(*(nn.Conv2d(3, 3, 1, bias=False) for _ in range(3)), nn.ReLU()))
        all_three = fold(model).module
        two = fold(model, config=convfold.FoldConfig(objective="macs", verify=False, exclude="2")).module
        shapes = [{tuple(p.shape) for n, p in m.named_parameters() if "folded" in n} for m in (all_three, two)]
        assert shapes == [{(3, 3, 1, 1)}] * 2
        with pytest.raises(convfold.InvalidInput, match="of another fold"):
            two.load_state_dict(all_three.state_dict(), strict=False)


def as_it_is(module: nn.Module) -> tuple[nn.Module, str]:
    return module, ""


def pickled(module: nn.Module) -> tuple[nn.Module, str]:
    return pickle.loads(pickle.dumps(module)), ""


def compiled(module: nn.Module) -> tuple[nn.Module, str]:
    return torch.compile(module), "_orig_mod."  # type: ignore[return-value]


def inside(module: nn.Module) -> tuple[nn.Module, str]:
    return nn.ModuleDict({"backbone": module, "head": nn.Linear(3, 2)}), "backbone."


class TestLoading:
    @pytest.mark.parametrize("options", [{}, {"strict": False}, {"strict": False, "assign": True}])
    @pytest.mark.parametrize(
        "how", [as_it_is, lambda m: (copy.deepcopy(m), ""), lambda m: (copy.copy(m), ""), pickled, compiled, inside]
    )
    @pytest.mark.parametrize("part", [lambda name: True, lambda name: name.startswith("3.")], ids=["all", "coinciding"])
    def test_the_originals_weights_are_refused(
        self, how: Callable[[nn.Module], tuple[nn.Module, str]], options: dict[str, bool], part: Callable[[str], bool]
    ) -> None:
        """Names that coincide would get new weights beside folded ones that keep the old."""
        module, prefix = how(self.folded)
        before = snapshot(module)
        checkpoint = {prefix + name: t for name, t in net(1).state_dict().items() if part(name)}
        with pytest.raises(convfold.InvalidInput, match=r"lacks .* result\.load_original\(state_dict\)") as error:
            module.load_state_dict(checkpoint, **options)
        assert "\n" not in str(error.value)
        assert_state(module, before)

    @property
    def folded(self) -> nn.Module:
        if not hasattr(type(self), "_folded"):
            type(self)._folded = fold(net()).module  # type: ignore[attr-defined]
        return type(self)._folded  # type: ignore[attr-defined, no-any-return]

    def test_into_a_part_of_it(self) -> None:
        module = fold(double(nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4)), nn.ReLU())), noise(2, 4))
        checkpoint = {"0.weight": torch.zeros(5, 4)}
        with pytest.raises(convfold.InvalidInput, match="lacks"):
            module.module.get_submodule("0").load_state_dict(checkpoint, strict=False)

    def test_its_own_state_dict_is_loaded(self, tmp_path: Path) -> None:
        a, b = fold(net(0)).module, fold(net(1)).module
        torch.save(b.state_dict(), tmp_path / "state.pt")
        a.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert_state(a, b.state_dict())
        plain = {name: t + 1 for name, t in b.state_dict().items()}  # without torch's metadata, as safetensors gives it
        a.load_state_dict(plain, assign=True)
        assert_state(a, plain)

    def test_its_own_from_a_wrapper(self) -> None:
        module = fold(net()).module
        with pytest.raises(convfold.InvalidInput, match=r"take the 'module\.' off its names"):
            module.load_state_dict(nn.DataParallel(copy.deepcopy(module)).state_dict(), strict=False)

    def test_parts_of_it_as_ever(self) -> None:
        """All that the plan computed and more, or less, if that is what was asked for."""
        a, b = fold(net(0)).module, fold(net(1)).module
        computed = {name: t for name, t in b.state_dict().items() if "folded" in name}
        result = a.load_state_dict({**computed, "other": torch.zeros(1)}, strict=False)
        assert set(result.missing_keys) == {"3.weight", "3.bias"} and result.unexpected_keys == ["other"]
        with pytest.raises(RuntimeError, match="Missing key"):
            a.load_state_dict(computed)

    def test_where_nothing_was_computed_but_a_weight_used_up(self) -> None:
        """A scale by 1 is no scale; another checkpoint's may be one."""
        scale = nn.Parameter(torch.tensor(1.0), requires_grad=False)
        model = Net(lambda m, x: m.a(x * m.scale).relu(), a=nn.Linear(4, 3), scale=scale).double()
        module = fold(model.eval(), noise(2, 4)).module
        assert set(module.state_dict()) == {"a.weight", "a.bias"}
        with pytest.raises(convfold.InvalidInput, match="has 'scale', used up"):
            module.load_state_dict(model.state_dict(), strict=False)
        module.load_state_dict(module.state_dict())

    def test_where_nothing_was_folded(self) -> None:
        model = double(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
        module = fold(model, noise(2, 4)).module
        other = double(copy.deepcopy(model), 1).state_dict()
        module.load_state_dict(other)
        assert_state(module, other)


def sources(model: nn.Module, folder: Path) -> dict[str, Any]:
    program = torch.export.export(model, (noise(*SHAPE),))
    torch.export.save(program, folder / "net.pt2")
    return {"module": model, "program": program, "file": folder / "net.pt2"}


class TestLoadOriginal:
    @pytest.mark.parametrize("kind", ["module", "program", "file"])
    def test_is_a_fresh_fold(self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Bit by bit, in place, without the search, and the user's model keeps its weights."""
        model = net(0)
        result = convfold.fold(sources(model, tmp_path)[kind], noise(*SHAPE), config=convfold.FoldConfig("macs"))
        module, before, places = result.module, snapshot(model), [p.data_ptr() for p in result.module.parameters()]
        first, second = (fold(net(seed)).module.state_dict() for seed in (0, 1))

        def searched(self: Search) -> None:
            raise AssertionError("planned again")

        monkeypatch.setattr(Search, "run", searched)
        checkpoint = net(1).state_dict()
        loaded = result.load_original(checkpoint)
        assert loaded.module is module and [p.data_ptr() for p in module.parameters()] == places
        assert_state(module, second)
        assert_state(model, before)
        assert loaded.report.error is not None and loaded.report.error.passed
        for t in checkpoint.values():
            t.zero_()
        assert_state(loaded.load_original(net(0).state_dict()).module, first)
        assert_state(result.load_original(net(1).state_dict()).module, second)

    def test_keeps_what_the_user_made_of_it(self) -> None:
        result = fold(net(0))
        module = result.module.float()
        frozen = next(name for name, _ in module.named_parameters() if "folded_weight" in name)
        module.get_parameter(frozen).requires_grad_(False)
        called: list[int] = []
        module.register_forward_hook(lambda *_: called.append(1))
        result.load_original(net(1).state_dict())
        expected = fold(net(1)).module.float()
        assert_state(module, expected.state_dict())
        assert {n for n, p in module.named_parameters() if not p.requires_grad} == {frozen}
        with torch.no_grad():
            module(noise(*SHAPE).float())
        assert called

    def test_half_a_checkpoint(self) -> None:
        """Stored in another type: it is taken in the original's, as a module takes it."""
        model, checkpoint = net(0), {name: t.float() for name, t in net(1).state_dict().items()}
        module = fold(model).load_original(checkpoint).module
        model.load_state_dict(checkpoint)
        assert_state(module, fold(model).module.state_dict())

    def test_another_plan_where_the_weights_ask_for_it(self) -> None:
        """A 1×1 without bias before a padded 3×3 is one convolution; with one, its border is another."""

        def model(bias: float) -> nn.Module:
            m = double(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 1)))
            with torch.no_grad():
                m[0].bias.fill_(bias)
            return m

        result = fold(model(0.0))
        module, old = result.module, result.module.state_dict()
        assert_calls(result, conv2d=2, relu=1)
        kept = module.get_parameter("3.weight")
        module.float()
        loaded = result.load_original(model(0.5).state_dict())
        fresh = fold(model(0.5)).module.float()
        assert loaded.module is module and module.code == fresh.code and len(module.state_dict()) > len(old)
        assert_state(module, fresh.state_dict())
        assert module.get_parameter("3.weight") is kept
        x = noise(*SHAPE).float()
        with torch.no_grad():
            assert torch.equal(module(x), fresh(x))
        for checked in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            checked.load_state_dict(fresh.state_dict())
            with pytest.raises(convfold.InvalidInput, match="lacks"):
                checked.load_state_dict(old, strict=False)
        back = loaded.load_original(model(0.0).state_dict())
        assert_state(back.module, fold(model(0.0)).module.float().state_dict())

    def test_kernels_with_zeros_at_their_edge(self) -> None:
        """These are cut off: another checkpoint's kernel is larger."""

        def model(edge: float) -> nn.Module:
            m = double(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.ReLU()))
            with torch.no_grad():
                m[0].weight[:, :, 2:] *= edge
            return m

        result = fold(model(0.0))
        module = result.load_original(model(1.0).state_dict()).module
        assert module is result.module
        assert_state(module, fold(model(1.0)).module.state_dict())
        assert_state(result.load_original(model(0.0).state_dict()).module, fold(model(0.0)).module.state_dict())

    def test_a_proof_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The new fold is compared with the original with the new weights, before it replaces the old."""
        result = fold(net(0), config=convfold.FoldConfig("macs"))
        before, right = snapshot(result.module), series.series

        def wrong(*args: Any, **kwargs: Any) -> Convolution:
            value = right(*args, **kwargs)
            return Convolution(value.kernel * (1 + 1e-9), value.bias, value.groups, value.windows)

        monkeypatch.setattr(series, "series", wrong)
        with pytest.raises(convfold.VerificationFailed, match="differs"):
            result.load_original(net(1).state_dict())
        assert_state(result.module, before)

    def test_weights_computed_tied_and_unsaved(self) -> None:
        """Parametrisations, one tensor under two names, buffers that are not saved, constants, buffers that count."""

        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.normed = parametrizations.weight_norm(nn.Linear(4, 6))
                self.a, self.b, self.unread = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(2, 2)
                self.b.weight = self.a.weight
                self.register_buffer("unsaved", torch.linspace(1, 2, 6), persistent=False)
                self.register_buffer("count", torch.zeros((), dtype=torch.long))
                self.constant = torch.linspace(-1, 1, 6)

            def forward(self, x: Tensor) -> Tensor:
                self.count.add_(1)
                y = self.a((self.normed(x) * self.unsaved + self.constant).relu())
                return self.b(y.relu() + torch.tensor([1.0, 2, 3, 4, 5, 6])) * self.unsaved

        torch.manual_seed(0)
        model = Odd().eval()
        result = convfold.fold(model, torch.randn(2, 4), config=MACS)
        before = snapshot(model)
        checkpoint = {name: t + 0.25 if t.is_floating_point() else t + 7 for name, t in model.state_dict().items()}
        loaded = result.load_original(checkpoint)
        assert_state(model, before)
        assert result.module.get_buffer("count") == 7
        fresh = copy.deepcopy(model)
        fresh.load_state_dict(checkpoint)
        expected = convfold.fold(fresh, torch.randn(2, 4), config=MACS)
        assert_state(loaded.module, expected.module.state_dict())
        x = torch.randn(3, 4)
        with torch.no_grad():
            assert_close(loaded.module(x), fresh(x), tolerance=1e-6)
        del checkpoint["b.weight"]  # as safetensors stores what has two names
        assert_state(result.load_original(checkpoint).module, expected.module.state_dict())

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda s: s.pop("3.bias"), r"^not a checkpoint of the original model: missing: 3\.bias$"),
            (lambda s: s.update(extra=torch.zeros(1)), r"unexpected: extra$"),
            (lambda s: s.update({"3.bias": torch.zeros(4)}), r"of another shape: 3\.bias \(4,\) for \(3,\)$"),
            (lambda s: [s.update({f"module.{n}": s.pop(n)}) for n in list(s)], r"take the 'module\.' off its names"),
            (lambda s: s.update(epoch=3), r"dict of other things than tensors"),
            (lambda s: s["0.0.weight"].view(-1)[3:4].fill_(float("nan")), r"^weight '0\.0\.weight' contains NaN"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit(self, spoil: Callable[[dict[str, Any]], Any], said: str) -> None:
        """One line, and nothing has changed."""
        result = fold(net(0))
        before, checkpoint = snapshot(result.module), snapshot(net(1))
        spoil(checkpoint)
        with pytest.raises(convfold.InvalidInput, match=said) as error:
            result.load_original(checkpoint)
        assert "\n" not in str(error.value)
        assert_state(result.module, before)

    def test_a_module_that_was_changed(self) -> None:
        result = fold(net(0))
        prune.random_unstructured(result.module.get_submodule("3"), "weight", 0.5)
        with pytest.raises(convfold.InvalidInput, match=r"changed since: other weights: 3\.weight"):
            result.load_original(net(1).state_dict())
