"""The greedy loop of a pack: transformers' tokens, each slice's own, and no row in the batch that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_for_tests import CASES, frozen, pack
from torch import Tensor, nn

from workers.modules.generation import ROWS, Limit, greedy
from workers.modules.model import PackModel
from workers.modules.modules import Modules

PAD, EOS, NEW, B = 0, 5, 10, 9
NAMES = ("tiny-bloom", "tiny-t5")
PROMPTS: list[dict[str, Any]] = [{"method": "prompt", "tokens": n} for n in (3, 5)]
PACK: list[dict[str, Any]] = [*CASES, *PROMPTS]


@cache
def talkative(name: str, often: int = 4) -> Any:
    """A tiny backbone with a head of its own that says many words, and more or less often the one that ends a text."""
    backbone = frozen(name)
    v, d = backbone.model.lm_head.weight.shape
    head = torch.randn(v, d, generator=torch.Generator().manual_seed(0)) / d**0.5
    head[EOS] *= often
    backbone.model.lm_head.weight = nn.Parameter(head, requires_grad=False)
    backbone.tokenizer = SimpleNamespace(
        pad_token_id=PAD, eos_token_id=EOS, batch_decode=lambda tokens, **_: list(tokens.unbind(0))
    )
    return backbone


@contextmanager
def talking(name: str, cases: Sequence[Any], trial: Any, often: int = 4) -> Iterator[tuple[PackModel, Modules]]:
    """A pack of random modules, a module's numbers the same in every pack."""
    with pack(talkative(name, often), [trial(name, **case) for case in cases]) as (model, modules):
        for theta in modules.thetas:
            theta.data += torch.randn(len(theta), generator=torch.Generator().manual_seed(len(theta))) * 0.3
        yield model, modules


def rows(name: str, n: int = B) -> dict[str, Tensor]:
    """Rows of very different lengths, padded on the family's own side."""
    lengths = torch.arange(n) * 7 % 23 + 1
    ids = torch.arange(n * 23).view(n, 23) * 37 % 1900 + 20
    mask = (torch.arange(23) < lengths[:, None]).long()
    if name == "tiny-bloom":
        mask = mask.flip(1)
    return {"input_ids": ids * mask, "attention_mask": mask}


def ours(model: PackModel, given: dict[str, Tensor], new: int = NEW) -> Tensor:
    """[K, b, ≤ new], as the model's own ``generate`` has them before they are a text."""
    return torch.stack([torch.stack(texts) for texts in model.generate(given, new)])  # type: ignore[arg-type]


def theirs(model: PackModel, given: dict[str, Tensor], new: int = NEW) -> Tensor:
    """transformers' tokens, [K, b, ≤ new]."""
    k = model._bind()
    inputs, _ = model._inputs(given, k)
    more = {"do_sample": False, "num_beams": 1, "pad_token_id": PAD, "eos_token_id": model.tokenizer.eos_token_id}
    with torch.no_grad(), model._precision():
        tokens = model.backbone.generate(**inputs, max_new_tokens=new, **more)  # type: ignore[operator]
    read = 1 if model.family == "t5" else inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
    found: Tensor = tokens[:, read:].view(k, len(given["input_ids"]), -1)
    return found


def ends(tokens: Tensor) -> Tensor:
    """[K, b]: the pass that gives a text's end, counted from 0; beyond the last one where it has none."""
    at = (tokens == EOS).int()
    return at.argmax(-1).where(at.any(-1), tokens.shape[-1])


def needed(tokens: Tensor) -> list[int]:
    """Rows of the batch, pass by pass, that somebody waits for; ``ROWS`` of a slice at least."""
    end_Kb, b = ends(tokens), tokens.shape[1]
    waited = [end_Kb >= n for n in range(tokens.shape[-1])]
    return [int(w.any(1).sum()) * max(int(w.any(0).sum()), min(ROWS, b)) for w in waited]


@contextmanager
def passes(model: PackModel) -> Iterator[list[int]]:
    """Rows that the stack of blocks which speaks sees, pass by pass."""
    seen: list[int] = []
    stack: Any = model.backbone.decoder if model.family == "t5" else model.backbone.transformer
    handle = stack.register_forward_hook(lambda _module, _args, out: seen.append(len(out.last_hidden_state)))
    yield seen
    handle.remove()


@pytest.mark.parametrize("cases", [PACK, [], PACK[3:4], PROMPTS], ids=["all", "full", "alone", "prompts"])
@pytest.mark.parametrize("name", NAMES)
def test_the_tokens_are_those_of_transformers(
    name: str, cases: list[Any], trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = rows(name)
    with talking(name, cases or PACK[:1], trial) as (model, _):
        if not cases:
            model = PackModel(talkative(name), None)
        expected = theirs(model, given)
        assert len(set(ends(expected).flatten().tolist())) > 3  # texts end at different passes
        assert torch.equal(ours(model, given), expected)
        assert torch.equal(ours(model, given, 1), expected[..., :1])
        monkeypatch.setattr(model.tokenizer, "eos_token_id", None)
        assert torch.equal(ours(model, given), theirs(model, given))


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_so_they_are_in_bf16_and_under_autocast(name: str, mixed: bool) -> None:
    """With no end: a row that has left changes the last bit of a sum, and two logits in bf16 are often the same."""
    backbone = talkative.__wrapped__(name)
    backbone.tokenizer.eos_token_id = None
    if not mixed:
        backbone.model.to(torch.bfloat16)
    model = PackModel(backbone, None, mixed=mixed)
    assert torch.equal(ours(model, rows(name)), theirs(model, rows(name)))


def pull(model: PackModel, slot: int, sign: int) -> None:
    """Towards the end, or away from it: the last scalars of ``bitfit`` are those of the last norm."""
    word = model.backbone.lm_head.weight[EOS]  # type: ignore[union-attr,index]
    model.thetas[slot].data[-len(word) :] = sign * 100 * word


@pytest.mark.parametrize(("cases", "often", "endless"), [(PACK, 4, True), (PACK[3:7], 12, False)])
@pytest.mark.parametrize("name", NAMES)
def test_a_pack_says_what_each_says_alone_and_its_batch_shrinks(
    name: str, cases: list[Any], often: int, endless: bool, trial: Any
) -> None:
    """Beside a slice that ends at once, and beside one that never does, which keeps all rows."""
    given = rows(name)
    cases = [{"method": "bitfit"}, *cases, {"method": "bitfit"}]
    pulls = {0: 1, len(cases) - 1: -1 if endless else 1}
    with talking(name, cases, trial, often) as (model, modules):
        for slot, sign in pulls.items():
            pull(model, slot, sign)
        with passes(model) as seen:
            together = ours(model, given)
        assert modules.active == list(range(len(cases)))
    assert ends(together)[0].tolist() == [0] * B
    assert ends(together)[-1].tolist() == [NEW if endless else 0] * B
    assert seen == needed(together)
    assert seen[0] == len(cases) * B
    assert any(n % B for n in seen) != endless  # rows have left, and not only slices
    for slot, case in enumerate(cases):
        with talking(name, [case], trial, often) as (model, _), passes(model) as seen:
            if slot in pulls:
                pull(model, 0, pulls[slot])
            (alone,) = ours(model, given)
        n = alone.shape[-1]
        assert torch.equal(together[slot][:, :n], alone), case
        assert (together[slot][:, n:] == PAD).all()
        assert seen == needed(alone[None])


@pytest.mark.parametrize("name", NAMES)
def test_out_of_memory_on_the_way_leaves_all_slices_active(name: str, trial: Any) -> None:
    cases: list[Any] = [{"method": "bitfit"}, *PACK[:2]]
    with talking(name, cases, trial) as (model, modules):
        expected = ours(model, rows(name))
        pull(model, 0, 1)
        steps: list[list[int]] = []

        def fail(*_: Any) -> None:
            steps.append(modules.active)
            if len(steps) == 3:
                raise torch.OutOfMemoryError("injected")

        stack: Any = model.backbone.decoder if model.family == "t5" else model.backbone.transformer
        handle = stack.register_forward_pre_hook(fail)
        with pytest.raises(torch.OutOfMemoryError):
            ours(model, rows(name))
        handle.remove()
        assert steps[1:] == [[1, 2]] * 2
        assert modules.active == [0, 1, 2]
        assert torch.equal(ours(model, rows(name))[1:], expected[1:])


class Script(nn.Module):
    """Says what is written, [R, n] for R rows, which it knows by their first token; counts passes and rows."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self, lines: Tensor) -> None:
        super().__init__()
        self.lines, self.n, self.seen, self.here = lines, 0, [], torch.arange(len(lines))  # type: ignore[var-annotated]

    def batch_select_indices(self, rows: Tensor) -> None:
        """As a cache does."""
        self.here = self.here[rows]

    def forward(self, attention_mask: Tensor, use_cache: bool, input_ids: Tensor, **_: Any) -> Any:
        assert len(attention_mask) == len(input_ids) == len(self.here)
        assert attention_mask.shape[1] == self.n + 1
        if self.n:
            said = self.lines[self.here, self.n - 1]
            gone_on = (self.lines[self.here, : self.n - 1] != EOS).all(1)
            assert torch.equal(input_ids[:, 0], said.where(gone_on, PAD))
        self.seen.append(self.here.tolist())
        logits = nn.functional.one_hot(self.lines[self.here, self.n], 50).float()
        self.n += 1
        return SimpleNamespace(logits=logits[:, None], past_key_values=self if use_cache else None)


def told(lines_Kbn: list[list[str]], new: int) -> tuple[list[str], Script, list[list[int]]]:
    """Texts of a script of letters, in which ``.`` ends one; the script, and the slices that stayed each time."""
    lines = torch.tensor([[EOS if c == "." else ord(c) - 87 for c in text] for texts in lines_Kbn for text in texts])
    script, stayed = Script(lines), list[list[int]]()
    given = {name: torch.ones(len(lines), 1, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    tokens = greedy(script, given, len(lines_Kbn), Limit(new, EOS, PAD), stayed.append)
    letters = {EOS: ".", PAD: "_"}
    return ["".join(letters.get(t, chr(t + 87)) for t in row) for row in tokens.tolist()], script, stayed


def test_rows_leave_when_no_slice_needs_them_and_slices_when_no_row_does() -> None:
    slices = [
        ["ab.x", "a.xx", "c.xx", ".xxx", "e.xx", "f.xx"],
        [".xxx"] * 6,
        ["g.xx", "h.xx", ".xxx", "i.xx", "jkl.", ".xxx"],
    ]
    texts, script, stayed = told(slices, 4)
    assert texts == [
        *("ab._", "a.__", "c.__", ".___", "e.__", "f.__"),
        *[".___"] * 6,
        *("g.__", "h.__", ".___", "i.__", "jkl.", ".___"),
    ]
    every = list(range(18))
    both = [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17]
    # then only rows 0 and 4 run on; two more stay, for a product of fewer than four rows isn't the same to the bit
    four = [0, 1, 2, 4, 12, 13, 14, 16]
    assert script.seen == [every, both, four, [12, 13, 14, 16]]
    assert stayed == [[0, 2], [1]]


@pytest.mark.parametrize(("new", "passes_"), [(1, 1), (2, 2), (9, 3)])
def test_no_pass_gives_a_token_that_nobody_reads(new: int, passes_: int) -> None:
    texts, script, _ = told([["ab.xxxxxx"] * 5, ["a.xxxxxxx"] * 5], new)
    assert texts[0] == "ab."[:new]
    assert len(script.seen) == passes_


def test_a_batch_of_few_rows_keeps_them() -> None:
    _, script, stayed = told([["abc.", ".xxx"], ["a.xx", ".xxx"]], 4)
    assert script.seen == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [0, 1]]
    assert stayed == [[0]]
