"""Memory by arithmetic, against what autograd keeps in blocks of real widths and against totals by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.planning.activations import Pass, block_bytes, loss_bytes, recomputed_bytes, saved_bytes
from orchestrator.planning.memory import corrections, forward, memory
from trials.backbones import get, loaded_parameters
from trials.modules.methods import apet, named
from trials.modules.positions import layout
from trials.trial import Method, Shape, Source, TaskRef, Training, Trial
from workers.backbone import weights
from workers.backbone.load import blocks
from workers.modules.model import PackModel
from workers.modules.modules import Modules

GIB = 2**30
TOLERANCE = 0.01  # of what a block keeps; the decoder's own mask, say, isn't counted
ROWS, TARGETS, VOCAB = 2, 6, 1000
BACKBONES = ("bert-base", "bloom-560m", "t5-base")
STACKS = {"bert": ("encoder",), "bloom": ("decoder",), "t5": ("encoder", "decoder")}
CASES = {"frozen": "bitfit", "concat": "lora", "plug": "adapter", "full": "full"}


def trial(backbone: str, method: Method, shape: Shape | None = None, **training: Any) -> Trial:
    ref = get(backbone)
    ref = replace(ref, shape=shape or ref.shape)
    task = TaskRef("rte", Source("hub", "nyu-mll/glue", "main"))
    return Trial(ref, task, method, 1e-3, Training(**{"steps": 10, **training}))


def small(backbone: str, n: int) -> Shape:
    """The widths of a backbone, ``n`` blocks a stack."""
    shape = get(backbone).shape
    return replace(shape, blocks=n, decoder_blocks=n if shape.decoder_blocks else 0, vocab=VOCAB)


@cache
def two_blocks(backbone: str, dtype: torch.dtype) -> Any:
    ref = replace(get(backbone), shape=small(backbone, 2))
    model = weights._empty(ref).to(dtype).eval()
    return SimpleNamespace(ref=ref, model=model, tokenizer=None, device=torch.device("cpu"))


def batch(family: str, length: int) -> dict[str, Tensor]:
    """Two rows, one of them padded on the family's own side."""
    ids = torch.arange(ROWS * length).view(ROWS, length) % 900 + 20
    mask = torch.ones_like(ids)
    mask[0, slice(0, 9) if family == "bloom" else slice(-9, None)] = 0
    labels = {
        "bert": {"mask_position": torch.ones(ROWS, dtype=torch.int64), "class_labels": torch.tensor([0, 1])},
        "bloom": {"labels": torch.where(torch.arange(length) < length - TARGETS, -100, ids)},
        "t5": {"labels": ids[:, :TARGETS]},
    }
    return {"input_ids": ids, "attention_mask": mask, **labels[family]}


class Kept:
    """Bytes of storages that autograd keeps, each once, by block; apart those of parameters and of their casts, and of
    BLOOM's biases, which all blocks read."""

    def __init__(self, backbone: Any, casts: bool) -> None:
        self.blocks: dict[tuple[str, int] | None, int] = {}
        self.casts = self.biases = 0
        self._shared = 0
        self._seen = {p.untyped_storage().data_ptr() for p in backbone.model.parameters()}
        shapes = {tuple(p.shape) for p in backbone.model.parameters() if p.dim() == 2}
        self._cast_shapes = shapes | {shape[::-1] for shape in shapes} if casts else set()
        self._now: tuple[str, int] | None = None
        self._held: list[Tensor] = []  # a storage that is freed would give its address to another
        self._handles: list[Any] = []
        for stack in STACKS[backbone.ref.family]:
            for i, block in enumerate(blocks(backbone, stack)):
                enter = block.register_forward_pre_hook(
                    lambda *args, key=(stack, i): self._enter(key, args[-1]), with_kwargs=True
                )
                self._handles += [enter, block.register_forward_hook(lambda *_: self._enter(None, {}))]

    def _enter(self, key: tuple[str, int] | None, given: dict[str, Any]) -> None:
        self._now = key
        if "alibi" in given:
            self._shared = given["attention_mask"].untyped_storage().data_ptr()

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()

    def pack(self, x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self._held.append(x)
            if tuple(x.shape) in self._cast_shapes and x.dtype == torch.bfloat16:
                self.casts += storage.nbytes()
            elif storage.data_ptr() == self._shared:
                self.biases += storage.nbytes()
            else:
                self.blocks[self._now] = self.blocks.get(self._now, 0) + storage.nbytes()
        return x


def measured(backbone: str, case: str, product: int, length: int) -> Kept:
    full, mixed = case == "full", case == "full" and product == 2
    frozen = two_blocks(backbone, torch.bfloat16 if product == 2 and not full else torch.float32)
    frozen.model.requires_grad_(full)
    placed = None if full else layout(trial(backbone, named(CASES[case]), frozen.ref.shape))
    modules = None if placed is None else Modules(frozen, [placed])
    words = [1, 2] if frozen.ref.family == "bert" else None
    model = PackModel(frozen, modules, label_words=words, mixed=mixed)
    kept = Kept(frozen, mixed)
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda x: x):
        losses = model(batch(frozen.ref.family, length))
    assert losses.requires_grad
    if modules is not None:
        modules.close()
    kept.close()
    return kept


@pytest.mark.parametrize("product", [2, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_block_keeps_what_autograd_was_seen_to_keep(backbone: str, case: str, product: int) -> None:
    """The second block, whose input needs a gradient; what doesn't grow with the length is copies of θ."""
    family, method = get(backbone).family, named(CASES[case])
    shape = small(backbone, 1)
    made = corrections(trial(backbone, method, shape))
    said, seen = [], []
    for length in (40, 104):
        kept = measured(backbone, case, product, length)
        one = Pass(family, shape, ROWS, length, TARGETS, product, case == "full", made)
        around = replace(one, shape=replace(shape, blocks=0, decoder_blocks=0))
        said.append(saved_bytes(one) - saved_bytes(around))
        seen.append(sum(kept.blocks[stack, 1] for stack in STACKS[family]))
    assert said[1] - said[0] == pytest.approx(seen[1] - seen[0], rel=TOLERANCE)
    if not made:
        assert said == pytest.approx(seen, rel=TOLERANCE)


@pytest.mark.parametrize("product", [2, 4])
def test_bloom_keeps_one_table_of_biases_for_all_blocks(product: int) -> None:
    said = ROWS * 16 * 104**2 * product
    assert measured("bloom-560m", "full", product, 104).biases == said
    one = Pass("bloom", small("bloom-560m", 1), ROWS, 104, TARGETS, product)
    wide = replace(one, shape=replace(one.shape, heads=2 * 16, d_kv=one.shape.d_kv // 2))
    logarithms = ROWS * 16 * 104 * 4
    assert saved_bytes(wide) - saved_bytes(one) == said + logarithms


@pytest.mark.parametrize("backbone", BACKBONES)
def test_autocast_keeps_a_copy_of_every_weight_that_multiplies(backbone: str) -> None:
    one = trial(backbone, named("full"), small(backbone, 2))
    said = memory(one, 1, 1, 1, bytes_per_number=2).casts
    assert said == pytest.approx(measured(backbone, "full", 2, 40).casts, rel=1e-3)
    assert memory(one, 1, 1, 1, bytes_per_number=4).casts == 0


def test_the_encoder_of_the_largest_t5_under_a_prompt_by_hand() -> None:
    """24 blocks, 32 rows, 256 + 100 positions, 4096 wide, 64 heads of 64, feed-forward of 10240, bf16."""
    one = trial("t5-xxl", named("prompt", tokens=100), batch_size=32, max_input_length=256)
    passed = forward(one, pack_size=1, bytes_per_number=2)
    norms = 2 * (4 * 4096 + 2 * 4096 + 4)
    attention = 4 * 2 * 4096 + 4 * 64
    feed_forward = 6 * 2 * 10240
    biases = 2 * 64 * 356
    hand = 24 * 32 * 356 * (norms + attention + feed_forward + biases)
    assert 24 * block_bytes(passed, "encoder") == hand
    assert hand / GIB == pytest.approx(63.8, abs=0.1)  # 52.2 without the masks of padded batches
    cross = 32 * 24 * 356 * 4 * 4096  # keys and values of the encoder's output, in every block of the decoder
    assert cross < 24 * block_bytes(passed, "decoder") < 1.2 * cross


def test_backward_stops_at_the_lowest_block_that_is_touched() -> None:
    one = forward(trial("t5-base", named("bitfit")), 1, 2)
    top = replace(one, lowest=12 + 11)
    assert top.stacks == {"encoder": 0, "decoder": 1}
    ends = saved_bytes(replace(one, lowest=24))
    assert saved_bytes(top) == ends + block_bytes(one, "decoder")
    assert saved_bytes(replace(one, lowest=10)) == ends + 2 * block_bytes(one, "encoder") + 12 * block_bytes(
        one, "decoder"
    )


def test_logits_count_where_the_loss_reads_them() -> None:
    t5, bloom = (forward(trial(b, named("lora"), batch_size=8), 3, 2) for b in ("t5-base", "bloom-560m"))
    assert loss_bytes(t5) == 12 * 24 * 2 * 32128
    assert loss_bytes(bloom) == 12 * 24 * 2 * 250880
    assert bloom.length == t5.length + 2  # BLOOM's target stands behind its text
    assert loss_bytes(forward(trial("quickstart-l6", named("lora")), 1, 2)) == 0


def test_a_few_scalars_keep_the_inputs_of_as_few_sites() -> None:
    def kept(count: int) -> int:
        return saved_bytes(forward(trial("t5-base", apet("t5", count, {"concat": 1})), 1, 2))

    none = saved_bytes(forward(trial("t5-base", named("bitfit")), 1, 2))
    widest = 32 * 128 * 2 * 2048  # the input of one ``down``
    assert none + widest < kept(1) < none + 1.1 * widest + 32 * 128 * 2 * 768
    assert none + 2 * widest < kept(768 + 768 + 1) < kept(10**6)
    adding = saved_bytes(forward(trial("t5-base", apet("t5", 1000, {"add": 1})), 1, 2))
    assert adding == none


def test_full_takes_twenty_bytes_a_parameter_on_a_card_and_a_copy_beside() -> None:
    one = trial("bert-base", named("full"), batch_size=32)
    card, cpu = memory(one, 1000, 1000, 1, 2), memory(one, 1000, 1000, 1, 4)
    assert card.weights + card.state == 20 * 1000
    assert (card.beside(), cpu.beside()) == (2 * 1000, 4 * 1000)
    assert card.on_card() == 20 * 1000 + card.casts + card.saved
    assert cpu.in_process() == 24 * 1000 + cpu.saved
    assert replace(card, saved=0, casts=0).on_card() == 24 * 1000  # AdamW's step needs a copy when passes are done
    pack = memory(trial("bert-base", named("lora")), 1000, 10, 3, 2)
    assert (pack.weights, pack.state) == (2 * 1000, 3 * 10 * 22)


@pytest.mark.parametrize(("backbone", "gib"), [("t5-xxl", 20.7), ("bloom-7b1", 13.2)])
def test_ranks_share_frozen_weights_at_stage_3_and_modules_never(backbone: str, gib: float) -> None:
    """By hand: half of the weights, one block and one table that are gathered, and all of what trains."""
    one = trial(backbone, named("lora"), batch_size=32, max_input_length=256)
    loaded, s = loaded_parameters(one.backbone), get(backbone).shape
    held = memory(one, loaded, 6_291_456, 2, 2, rows=1)
    assert held.weights / GIB == pytest.approx(gib, abs=0.1)
    theta = 2 * 6_291_456
    assert held.state == theta * (4 + 4 + 8 + 4 + 2)
    for stage in (0, 1, 2):
        assert held.on_card(4, stage) == held.on_card() == held.weights + held.state + held.saved
    blocks = {"t5-xxl": 8 * 4096**2 + 3 * 4096 * 10240, "bloom-7b1": 4 * 4096**2 + 2 * 4096 * 16384}
    gathered = 2 * (blocks[backbone] + s.vocab * 4096)
    assert held.on_card(2, 3) == held.weights // 2 + gathered + held.state + held.saved
    table = 2 * s.vocab * 4096
    assert held.on_card(8, 3, offload=True) == gathered + table // 8 + held.state + held.saved
    assert held.on_card(1, 3) == held.on_card(), "alone, its part is all"
    assert (held.beside(4, 0), held.beside(4, 3), held.beside(4, 3, offload=True)) == (0, 0, held.weights // 4)


def test_full_shares_moments_then_gradients_then_weights() -> None:
    """By hand, bytes a parameter on each of 4 cards: what the stage shares is divided, what isn't is whole."""
    one = trial("t5-xl", named("full"), batch_size=32)
    n = 4 * 10**9
    held = memory(one, n, n, 1, 2)
    passing, buckets = held.casts + held.saved, 2 * 5 * 10**7 * 4
    assert held.on_card() == 20 * n + max(passing, 4 * n)
    again, lasting = 4 / 4, {1: 4 + 4 + 8 / 4, 2: 4 + (4 + 8) / 4}
    for stage, each in lasting.items():
        assert held.on_card(4, stage) == (each + again) * n + buckets + passing
    at_3 = (4 + 4 + 8) / 4 * n
    assert held.on_card(4, 3) == at_3 + held.gathered + buckets + passing
    assert held.gathered == pytest.approx(4 * 10**9, rel=0.1)
    assert (held.beside(4, 2), held.beside(4, 3)) == (2 * n + 4 * n / 4, (2 + 4) * n / 4)
    assert held.beside(4, 3, offload=True) == at_3 + 4 * n / 4 + (2 + 4) * n / 4
    assert held.on_card(4, 3, offload=True) == held.gathered + held.largest / 4 + buckets + passing


def test_ranks_on_a_cpu_hold_what_cards_do_and_the_copies_too() -> None:
    lora, full = (trial("bert-base", named(name), batch_size=32) for name in ("lora", "full"))
    frozen, trained = memory(lora, 10**8, 10**5, 4, 4, rows=16), memory(full, 10**8, 10**8, 1, 4, rows=16)
    assert frozen.in_process(2, 0) == frozen.in_process() == frozen.on_card()
    assert frozen.in_process(2, 3) == frozen.on_card(2, 3)
    assert trained.in_process() - trained.saved == 24 * 10**8
    assert trained.in_process(2, 3) == trained.on_card(2, 3) + (4 + 4) * 10**8 / 2


@pytest.mark.parametrize("product", [2, 4])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_recompute_leaves_the_inputs_of_blocks_and_one_block(backbone: str, case: str, product: int) -> None:
    """Twelve more blocks cost twelve inputs, whatever each keeps while it is computed again."""
    method, made = named(CASES[case]), corrections(trial(backbone, named(CASES[case]), small(backbone, 1)))
    short = Pass(
        get(backbone).family, small(backbone, 2), ROWS, 104, TARGETS, product, method.name == "full", made,
        recompute=True,
    )  # fmt: skip
    long = replace(short, shape=small(backbone, 14))
    inputs = sum(12 * ROWS * short.positions(stack) * short.shape.d_model * short.stream for stack in short.stacks)
    assert saved_bytes(long) - saved_bytes(short) == inputs
    assert recomputed_bytes(long) == recomputed_bytes(short) >= max(block_bytes(short, stack) for stack in short.stacks)
    assert recomputed_bytes(replace(short, recompute=False)) == 0
    assert saved_bytes(long) + recomputed_bytes(long) < 0.5 * saved_bytes(replace(long, recompute=False))


def test_a_micro_batch_saves_memory_of_its_rows_alone() -> None:
    one = trial("bert-base", named("lora"), batch_size=32)
    whole, parts, more = (memory(one, 1000, 10, 1, 4, rows) for rows in (None, 8, 99))
    assert parts == replace(whole, saved=parts.saved)
    assert parts.saved == pytest.approx(whole.saved / 4, abs=1)
    assert more == whole
