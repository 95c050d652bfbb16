"""Soft tokens: PEFT's prompt tuning is the second opinion; packs of any lengths; where they enter."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch
from tiny_for_tests import FAMILIES, WORDS, answers, batch, frozen, pack
from torch import Tensor
from torch.nn.functional import cross_entropy

from trials.errors import ApetError
from trials.modules.positions import layout
from workers.modules import soft_tokens
from workers.modules.modules import Modules, initial_theta

TOKENS = 5
D = 64
PACK: list[dict[str, Any]] = [
    {"method": "prompt", "tokens": TOKENS},
    {"method": "lora"},
    {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens", "q", "v")}, "tokens": 9, "count": 1500},
    {"method": "prompt", "tokens": 2},
    {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens",)}, "tokens": 7, "count": 3 * D + 5},
]


class Theirs:
    """PEFT's prompt tuning on a copy of a tiny backbone, with our losses."""

    def __init__(self, backbone: Any, prompt: Tensor) -> None:
        family, model = backbone.ref.family, copy.deepcopy(backbone.model)
        self.family, self.cls = family, getattr(model, "cls", None)
        task = {"bert": "FEATURE_EXTRACTION", "bloom": "CAUSAL_LM", "t5": "SEQ_2_SEQ_LM"}[family]
        config = peft.PromptTuningConfig(
            task_type=task, num_virtual_tokens=len(prompt), num_transformer_submodules=1, token_dim=D
        )
        self.model: Any = peft.get_peft_model(model.bert if family == "bert" else model, config)
        self.weight = self.model.prompt_encoder["default"].embedding.weight
        self.weight.data.copy_(prompt)

    def states(self, rows: dict[str, Tensor]) -> Tensor:
        """BERT's last hidden states at the text's positions."""
        inputs = {k: rows[k] for k in ("input_ids", "attention_mask")}
        states: Tensor = self.model(**inputs).last_hidden_state[:, len(self.weight) :]
        return states

    def loss(self, rows: dict[str, Tensor]) -> Tensor:
        inputs = {k: rows[k] for k in ("input_ids", "attention_mask")}
        if self.family == "bert":
            assert self.cls is not None
            scores = self.cls(self.states(rows)[torch.arange(4), rows["mask_position"]])[:, list(WORDS)]
            return cross_entropy(scores, rows["class_labels"])
        if self.family == "t5":
            decoder_ids = self.model.base_model._shift_right(rows["labels"])
            logits = self.model(**inputs, decoder_input_ids=decoder_ids).logits
            return cross_entropy(logits.flatten(0, 1), rows["labels"].flatten())
        logits = self.model(**inputs).logits[:, len(self.weight) : -1]
        return cross_entropy(logits.flatten(0, 1), rows["labels"][:, 1:].flatten())


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_is_pefts_prompt_tuning(name: str, padded: bool, trial: Any) -> None:
    """Outputs, gradients and five AdamW steps; with no padding on the left to the bit at the start."""
    backbone, rows = frozen(name), batch(name, padded=padded)
    rows.pop("token_type_ids", None)  # PEFT drops them
    with pack(backbone, [trial(name, method="prompt", tokens=TOKENS)]) as (model, modules):
        theta = modules.thetas[0]
        theta.data = torch.randn(TOKENS * D, generator=torch.Generator().manual_seed(1)) * 0.3
        theirs = Theirs(backbone, theta.detach().view(TOKENS, D))
        optimizers = [torch.optim.AdamW([p], lr=1e-2, weight_decay=0.0) for p in (theta, theirs.weight)]
        for step in range(5):
            losses = (model(rows)[0], theirs.loss(rows))
            for loss in losses:
                loss.backward()
            if step == 0 and not (padded and name == "tiny-bloom"):
                assert torch.equal(*losses)
            torch.testing.assert_close(*losses, atol=1e-5, rtol=0)
            torch.testing.assert_close(theta.grad.view(TOKENS, D), theirs.weight.grad, atol=1e-5, rtol=0)
            assert theta.grad.abs().max() > 1e-3
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            torch.testing.assert_close(theta.view(TOKENS, D), theirs.weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-t5"])
def test_a_prompt_generates_what_pefts_does(name: str, trial: Any) -> None:
    backbone, rows = frozen(name), batch(name, padded=False)
    with pack(backbone, [trial(name, method="prompt", tokens=TOKENS)]) as (model, modules):
        modules.thetas[0].data *= 3
        (mine,) = model.generate(rows, 6)
        theirs = Theirs(backbone, modules.thetas[0].detach().view(TOKENS, D))
        inputs = {k: rows[k] for k in ("input_ids", "attention_mask")}
        settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        tokens = theirs.model.generate(**inputs, **settings)
        assert mine == [str(row) for row in tokens[:, -6:].tolist()]
        assert len(set(mine)) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_of_prompts_of_different_lengths_gives_each_what_it_gives_alone(name: str, trial: Any) -> None:
    backbone, rows = frozen(name), batch(name)
    trials = [trial(name, **case) for case in PACK]
    with pack(backbone, trials) as (model, modules):
        losses = model(rows)
        losses.sum().backward()
        gradients = [theta.grad.clone() for theta in modules.thetas]
        given = answers(model, rows)
    for one, loss, gradient, answer in zip(trials, losses, gradients, given, strict=True):
        with pack(backbone, [one]) as (model, modules):
            alone = model(rows)
            alone.sum().backward()
            torch.testing.assert_close(alone[0], loss, atol=4e-6, rtol=0)
            torch.testing.assert_close(modules.thetas[0].grad, gradient, atol=4e-6, rtol=0)
            assert answers(model, rows) == [answer]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_pack_of_prompts_of_one_length_is_bitwise_what_each_is_alone(name: str, trial: Any) -> None:
    backbone, rows = frozen(name), batch(name)
    trials = [trial(name, method="prompt", tokens=4, trial={"train_seed": seed}) for seed in range(3)]
    with pack(backbone, trials) as (model, modules):
        losses = model(rows)
        losses.sum().backward()
        gradients = [theta.grad.clone() for theta in modules.thetas]
        assert len(set(losses.tolist())) == 3
    for one, loss, gradient in zip(trials, losses, gradients, strict=True):
        with pack(backbone, [one]) as (model, modules):
            alone = model(rows)
            alone.sum().backward()
            assert torch.equal(alone[0], loss)
            assert torch.equal(modules.thetas[0].grad, gradient)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e38])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_poisoned_prompt_leaves_the_others_bitwise_undisturbed(name: str, poison: float, trial: Any) -> None:
    backbone, rows = frozen(name), batch(name)
    with pack(backbone, [trial(name, **case) for case in PACK]) as (model, modules):

        def outcome() -> tuple[list[Tensor], list[list[Any]]]:
            losses = model(rows)
            losses.sum().backward()
            found = [x for loss, theta in zip(losses, modules.thetas, strict=True) for x in (loss, theta.grad)]
            modules.thetas.zero_grad()
            return found, answers(model, rows)

        clean, said = outcome()
        modules.thetas[0].data[7] = poison
        poisoned, says = outcome()
        assert not torch.equal(clean[0], poisoned[0])
        assert all(torch.equal(a, b) for a, b in zip(clean[2:], poisoned[2:], strict=True))
        assert said[1:] == says[1:]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_may_leave_the_pack_and_the_rest_takes_its_own_path(name: str, trial: Any) -> None:
    """With no soft token among the active slices, the backbone reads ids, bitwise as with no prompt in the pack."""
    backbone, rows = frozen(name), batch(name)
    lora, bias = trial(name, method="lora"), trial(name, operations={"add": 1}, count=30)
    with pack(backbone, [trial(name, method="prompt", tokens=3), lora, bias]) as (model, modules):
        modules.active = [1, 2]
        left = model(rows)
        assert "input_ids" in model._inputs(rows, 2)[0]
    with pack(backbone, [lora, bias]) as (model, modules):
        assert torch.equal(model(rows), left)


@pytest.mark.parametrize("name", FAMILIES)
def test_they_start_as_embeddings_and_a_cut_token_keeps_the_rest_of_its_own(name: str, trial: Any) -> None:
    backbone = frozen(name)
    table = backbone.model.get_input_embeddings().weight
    whole = layout(trial(name, method="prompt", tokens=4))
    ids = whole.ops[0].groups[0].token_ids
    assert torch.equal(torch.from_numpy(initial_theta(soft_tokens.embedded(whole, backbone))).view(4, D), table[ids])
    shares = {"operations": {"concat": 1}, "sites": {"concat": ("soft_tokens",)}, "tokens": 4}
    placed = layout(trial(name, count=2 * D + 9, **shares))
    assert soft_tokens.length(placed) == 3
    cut = placed.ops[0].cut
    assert cut is not None
    modules = Modules(backbone, [placed])
    (theta,) = modules.thetas
    assert theta.numel() == 2 * D + 9
    theta.data += 1.0
    modules.bind()
    (prompt,) = modules.prompts()
    modules.close()
    assert prompt is not None
    moved = torch.zeros(D)
    moved[torch.from_numpy(cut.order)] = 1.0
    torch.testing.assert_close(prompt[2], table[cut.token_id] + moved)
    assert torch.equal(prompt[2][moved == 0], table[cut.token_id][moved == 0])


def test_padding_then_soft_tokens_then_text() -> None:
    """Rows padded on the left, on the right and not at all, under prompts of two tokens, of one and of none."""
    model = frozen("tiny-bloom").model
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
    ids = torch.arange(1, 13).view(3, 4)
    a, b = torch.full((2, D), 100.0), torch.full((1, D), 200.0)
    inputs = {"input_ids": ids.repeat(3, 1), "attention_mask": mask.repeat(3, 1)}
    inputs["token_type_ids"] = inputs["attention_mask"]
    found, before = soft_tokens.enter(inputs, [a, b, None], model, "bert")
    assert before == 2
    words = model.get_input_embeddings().weight
    marks = found["inputs_embeds"][:, :, 0]
    assert found["attention_mask"].tolist() == [
        *([0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]),
        *([0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 0]),
        *([0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0]),
    ]
    assert (marks == 100).tolist()[:3] == [[False, False, True, True, False, False], *[[True, True, *[False] * 4]] * 2]
    assert (marks == 200).nonzero().tolist() == [[3, 3], [4, 1], [5, 1]]
    for k in range(3):
        for row, first in ((0, 2), (1, 0), (2, 0)):
            assert torch.equal(found["inputs_embeds"][3 * k + row, 2 + first :], words[ids[row, first:]])
    assert torch.equal(found["token_type_ids"], torch.nn.functional.pad(inputs["attention_mask"], (2, 0)))
    assert found["position_ids"][3].tolist() == [0, 0, 0, 0, 1, 2]
    assert found["position_ids"][2].tolist() == [0, 1, 2, 3, 4, 4]


def test_a_head_pools_the_text_alone(trial: Any) -> None:
    """The mean over the text's states, behind a prompt of PEFT's."""
    backbone, rows = frozen("tiny-bert"), batch("tiny-bert")
    del rows["token_type_ids"]  # PEFT drops them
    head = torch.randn(3, D, generator=torch.Generator().manual_seed(3))
    with pack(backbone, [trial("tiny-bert", method="prompt", tokens=TOKENS)]) as (model, modules):
        prompt = modules.thetas[0].detach().view(TOKENS, D)
        model.backbone, model.label_words, model.heads = backbone.model.bert, None, [head]
        scores = model._label_scores(rows, model._bind())[0]
    states = zip(Theirs(backbone, prompt).states(rows), rows["attention_mask"], strict=True)
    mean = torch.stack([state[mask == 1].mean(0) for state, mask in states])
    torch.testing.assert_close(scores, mean @ head.T, atol=1e-5, rtol=1e-5)


def test_positions_must_hold_prompt_and_text(trial: Any) -> None:
    bert = trial("tiny-bert", method="prompt", tokens=100)
    soft_tokens.check_room(layout(bert), bert.backbone, 156)
    with pytest.raises(ApetError, match=r"100 soft tokens before a text of 157 tokens: tiny-bert has 256 .* most 99"):
        soft_tokens.check_room(layout(bert), bert.backbone, 157)
    with pytest.raises(ApetError, match=r"no room for any: take a task with shorter texts"):
        soft_tokens.check_room(layout(bert), bert.backbone, 256)
    soft_tokens.check_room(layout(trial("tiny-bert", method="lora")), bert.backbone, 256)
    bloom = trial("tiny-bloom", method="prompt", tokens=100)
    soft_tokens.check_room(layout(bloom), bloom.backbone, 10**6)
