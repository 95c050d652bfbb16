"""Greedy generation in batches, cached, with modules inside: the same texts as the plain definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from encodings_for_tests import encoding

from trials import backbones
from trials.modules.positions import layout
from workers.backbone import load as loading
from workers.modules.model import PackModel
from workers.modules.modules import Modules
from workers.pack.evaluate import evaluate
from workers.rows.batches import collate, eval_batches
from workers.rows.data import Rows
from workers.rows.encode import Dataset, encode

QUESTIONS = ("who is it", "when did the war begin in the old town", "what", "where does the river rise and end")
LENGTH = 12


@pytest.fixture(scope="module", params=["tiny-bloom", "tiny-t5"])
def frozen(request: pytest.FixtureRequest) -> loading.Backbone:
    return loading.load(backbones.get(request.param), f"random:{request.param}")


def pack(frozen: loading.Backbone, trial: Any) -> PackModel:
    """Three slices of random modules that change what is generated."""
    members = [trial(frozen.ref.name, count=n, trial={"position_seed": n}) for n in (900, 700, 500)]
    modules = Modules(frozen, [layout(member) for member in members])
    torch.manual_seed(0)
    with torch.no_grad():
        for theta in modules.thetas:
            theta.normal_(0, 0.5)
    return PackModel(frozen, modules)


def rows(frozen: loading.Backbone, golds: tuple[str, ...] = ("cat",)) -> Dataset:
    how = encoding("nq_open", frozen.ref.name, max_generated_length=LENGTH)
    return Dataset(encode(Rows([(q,) for q in QUESTIONS], [golds] * len(QUESTIONS)), how), how)


def plain(model: PackModel, data: Dataset, row: int) -> str:
    """The best next token, again and again, from the start each time, of one row alone."""
    prompt, end = torch.from_numpy(data.rows.inputs[row].astype("int64"))[None], data.how.tokenizer.eos_token_id
    start = prompt if model.family == "bloom" else torch.zeros((1, 1), dtype=torch.int64)
    text = start
    for _ in range(LENGTH):
        model._bind()
        inputs = {"input_ids": text} if model.family == "bloom" else {"input_ids": prompt, "decoder_input_ids": text}
        token = model.backbone(**inputs, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        text = torch.cat([text, token], 1)
        if token.item() == end:
            break
    found: str = data.how.tokenizer.decode(text[0, start.shape[1] :], skip_special_tokens=True)
    return found


@torch.no_grad()
def test_batches_and_caches_change_no_text(frozen: loading.Backbone, trial: Any) -> None:
    model, data = pack(frozen, trial), rows(frozen)
    texts = model.generate(collate(data, range(len(QUESTIONS)), train=False).tensors, LENGTH)
    assert len({tuple(texts_) for texts_ in texts}) == 3  # every slice has a text of its own
    modules = model.modules_K
    assert modules is not None
    for slot in range(3):
        modules.active = [slot]
        assert texts[slot] == [plain(model, data, row) for row in range(len(QUESTIONS))]
    modules.close()


def test_scores_are_each_slices_own_and_by_row(frozen: loading.Backbone, trial: Any) -> None:
    model, data = pack(frozen, trial), rows(frozen)
    modules = model.modules_K
    assert modules is not None
    (batch,) = eval_batches(data, 8)
    texts = model.generate(batch.tensors, LENGTH)
    own = dict(zip(batch.rows, texts[1], strict=True))
    golds = [("never said", own[0]), ("never said",), (own[2],), ("never said",)]
    scored = Dataset(encode(Rows([(q,) for q in QUESTIONS], golds), data.how), data.how)
    together = evaluate(model, scored, 2)
    assert together[1].score == 0.5
    assert together[1].metrics["token_f1"] >= 0.5
    modules.active = [1]
    assert evaluate(model, scored, 4) == [together[1]]
    modules.close()


def test_a_generated_label_must_be_the_labels_text(frozen: loading.Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    how = encoding("mnli", frozen.ref.name)
    data = Dataset(encode(Rows([("a", "b")] * 4, [0, 1, 2, 1]), how), how)
    monkeypatch.setattr(PackModel, "generate", lambda *_: [[" Yes", "maybe", "no way", ""]])
    assert evaluate(PackModel(frozen, None), data, 4)[0].score == 0.5
