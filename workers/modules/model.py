"""A backbone with the pack's modules in it: losses, label scores and generated text, slice by slice.

Shapes: K slices, b rows, s positions, c labels, t target tokens, d width, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from workers.backbone.load import Backbone, stacks
from workers.gang.gang import ALONE, Gang
from workers.modules import soft_tokens
from workers.modules.corrections import by_slice
from workers.modules.generation import Limit, greedy
from workers.modules.kept import Kept
from workers.modules.modules import Modules
from workers.modules.recompute import recomputed
from workers.modules.sharing import BOTTOM, DECODER, HIDDEN, Place, States, forked, repeat


class PackModel(nn.Module):
    """The backbone and K modules; what an engine runs.

    Args:
        backbone: frozen, or trainable for ``full``.
        modules: None for ``full``: one slice, nothing inserted.
        heads: encoders with a frozen or trained head: [c, d] per slice; the same tensor may stand K times.
        label_words: encoders with a verbalizer head: c token ids.
        mixed: the weights are float32 (``full``), and what they multiply is bf16.
        kept: where what lies below all modules stays from one scoring of the same rows to the next; None: nowhere.
        gang: the ranks that hold a shard of the weights each, and all take part in each pass.
        recompute: whether the backward pass runs each block again, from the lowest one that a module touches, so that
            of a block only what enters it has to be kept.
    """

    def __init__(
        self,
        backbone: Backbone,
        modules: Modules | None,
        heads: Sequence[Tensor] | None = None,
        label_words: Sequence[int] | None = None,
        mixed: bool = False,
        kept: Kept | None = None,
        gang: Gang = ALONE,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.kept, self.gang = kept, gang
        self.shards = backbone.shards if modules is not None else None  # what trains all has its own way with them
        self._sharded = backbone.shards is not None
        self._again = list(stacks(backbone).values()) if recompute else []
        self.mixed = mixed
        self.backbone = backbone.model
        self.family = backbone.ref.family
        self.tokenizer = backbone.tokenizer
        self.modules_K = modules
        self.thetas = modules.thetas if modules else nn.ParameterList()
        self.heads = list(heads) if heads is not None else None
        self.trained_heads = nn.ParameterList(h for h in heads or [] if isinstance(h, nn.Parameter))
        self.label_words = list(label_words) if label_words is not None else None

    @property
    def device(self) -> torch.device:
        """Where the backbone lies."""
        return next(self.backbone.parameters()).device

    @property
    def active(self) -> list[int]:
        """The slices of the next pass."""
        return self.modules_K.active if self.modules_K else [0]

    @property
    def lowest(self) -> Place:
        """The lowest place that an active slice touches: below it, all slices are one."""
        return self.modules_K.lowest if self.modules_K else BOTTOM

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Losses [K] of the active slices, each the mean over its own rows or target tokens.

        Args:
            batch: tensors of b rows; every slice sees the same ones.
        """
        k = self._bind()
        with self._passing(), recomputed(self._again, self.lowest):
            if self.family == "bert":
                scores_Kbc = self._label_scores(batch, k)
                return torch.stack([cross_entropy(s_bc, batch["class_labels"]) for s_bc in scores_Kbc.unbind(0)])
            with self._precision():
                return self._bloom_losses(batch, k) if self.family == "bloom" else self._t5_losses(batch, k)

    @torch.no_grad()
    def predict(
        self, batch: Mapping[str, Tensor], label_words: Sequence[int] | None = None, rows: Hashable = None
    ) -> Tensor:
        """Encoders: the best label of every row, [K, b].

        Args:
            batch: tensors of b rows.
            label_words: a verbalizer's, of the task that is scored; by default those it trains with.
            rows: what tells these rows from all others that are scored, to keep what lies below all modules.
        """
        k = self._bind()
        with self._passing():
            return self._label_scores(batch, k, label_words, rows).argmax(-1)

    @torch.no_grad()
    def generate(self, batch: Mapping[str, Tensor], max_tokens: int, rows: Hashable = None) -> list[list[str]]:
        """Families that generate: the greedy text of every row, K lists of b.

        Args:
            batch: tensors of b rows.
            max_tokens: of a text.
            rows: as :meth:`predict` has them.
        """
        k, active = self._bind(), self.active
        limit = Limit(max_tokens, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        # what speaks has a cache in every block, so that none of them may be passed over
        fork = self._forked(k, rows if self.family == "t5" and self.lowest < DECODER else None)
        try:
            with self._precision():
                tokens = greedy(self.backbone, self._prompt(batch, k, rows), k, limit, self._stay, fork, self.gang.any)
        finally:
            if self.modules_K:
                self.modules_K.active = active
        texts: list[str] = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        b = len(texts) // k
        return [texts[i * b : (i + 1) * b] for i in range(k)]

    def let_go(self) -> bool:
        """Free what is kept, for memory ran out; whether there was any."""
        return self.kept is not None and self.kept.let_go()

    def _passing(self) -> AbstractContextManager[None]:
        """Around a pass that calls parts of the backbone."""
        return nullcontext() if self.shards is None else self.shards.passing()

    def _precision(self) -> torch.autocast:
        """Inside an engine's own: DeepSpeed turns off what is on around it.

        It would keep the copy of each weight until the pass is over; of weights in shards that is every rank's all.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed, cache_enabled=not self._sharded)

    def _bind(self) -> int:
        if self.modules_K is None:
            return 1
        self.modules_K.bind()
        return len(self.modules_K.active)

    def _stay(self, slices: list[int]) -> None:
        """The other active slices take no part in the next passes."""
        assert self.modules_K is not None, "more than one slice"
        self.modules_K.active = [self.active[i] for i in slices]
        self.modules_K.bind()

    def _copies(self, k: int) -> int:
        """How many times a batch stands side by side where it enters the backbone: once, if slices share the bottom."""
        return k if self.lowest == BOTTOM else 1

    def _inputs(self, batch: Mapping[str, Tensor], copies: int) -> tuple[dict[str, Tensor], int]:
        """What the backbone reads, and how many positions stand before the text's own."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = {name: repeat(batch[name], copies) for name in names if name in batch}
        prompts_K = self.modules_K.prompts() if self.modules_K else []
        if all(prompt is None for prompt in prompts_K):
            return inputs, 0
        return soft_tokens.enter(inputs, prompts_K, self.backbone, self.family)

    @contextmanager
    def _forked(self, k: int, rows: Hashable = None) -> Iterator[None]:
        """Around a pass: K·b rows from the lowest touched block on, and b below, if slices share what is there."""
        if self.modules_K is None or self.lowest == BOTTOM:
            yield
            return
        below = self._below(rows, self.lowest)
        with forked(self.modules_K.stacks, self.lowest, k, below):
            yield
        self._keep(rows, self.lowest, below)

    def _below(self, rows: Hashable, place: Place) -> States:
        """What is kept of these rows at a place."""
        return {} if self.kept is None or rows is None else self.kept.get(rows, place)

    def _keep(self, rows: Hashable, place: Place, below: States) -> None:
        if self.kept is not None and rows is not None:
            self.kept.put(rows, place, below)

    def _label_scores(
        self, batch: Mapping[str, Tensor], k: int, label_words: Sequence[int] | None = None, rows: Hashable = None
    ) -> Tensor:
        """[K, b, c]: label words at the mask, or the head on the mean of the text tokens."""
        inputs, before = self._inputs(batch, self._copies(k))
        encoder = getattr(self.backbone, "bert", self.backbone)  # below the language-model head, if there is one
        with self._precision():
            with self._forked(k, rows):
                hidden = _text(encoder(**inputs).last_hidden_state, before)
            if self.label_words is not None:
                every = torch.arange(len(hidden), device=hidden.device)
                logits: Tensor = self.backbone.cls(hidden[every, repeat(batch["mask_position"], k)])  # type: ignore[operator]
                return by_slice(logits[:, list(label_words or self.label_words)].float(), k)
        assert self.heads is not None, "an encoder has a head"
        weight = repeat(batch["attention_mask"], k)[..., None].to(hidden.dtype)
        mean_Kbd = by_slice(((hidden * weight).sum(1) / weight.sum(1)).float(), k)
        return torch.stack([m_bd @ self.heads[i].T for i, m_bd in zip(self.active, mean_Kbd.unbind(0), strict=True)])

    def _bloom_losses(self, batch: Mapping[str, Tensor], k: int) -> Tensor:
        """Mean over target tokens; logits only where a target token follows, for the vocabulary is large."""
        inputs, before = self._inputs(batch, self._copies(k))
        with self._forked(k):
            hidden = _text(self.backbone.transformer(**inputs).last_hidden_state, before)  # type: ignore[operator]
        rows, at, targets = _targets(batch, k)
        logits: Tensor = self.backbone.lm_head(hidden[rows, at - 1])  # type: ignore[operator]
        return _slice_means(logits, targets, k)

    def _t5_losses(self, batch: Mapping[str, Tensor], k: int) -> Tensor:
        """Mean over target tokens, the closing EOS included."""
        copies = self._copies(k)
        read = self.backbone._shift_right(repeat(batch["labels"], copies))  # type: ignore[operator]
        with self._forked(k):
            logits: Tensor = self.backbone(**self._inputs(batch, copies)[0], decoder_input_ids=read).logits
        rows, at, targets = _targets(batch, k)
        return _slice_means(logits[rows, at], targets, k)

    def _prompt(self, batch: Mapping[str, Tensor], k: int, rows: Hashable) -> dict[str, Any]:
        """What a text begins with; where slices are one throughout T5's encoder, what that makes of it."""
        inputs: dict[str, Any] = self._inputs(batch, self._copies(k))[0]
        if self.lowest < DECODER:
            return inputs
        below = self._below(rows, DECODER)
        if not below:
            below[HIDDEN] = self.backbone.encoder(**inputs).last_hidden_state  # type: ignore[operator]
            self._keep(rows, DECODER, below)
        return {"encoder_outputs": (below[HIDDEN],), "attention_mask": inputs["attention_mask"]}


def _text(hidden: Tensor, before: int) -> Tensor:
    """The text's positions of [K·b, before + s, d]: soft tokens aren't read off."""
    return hidden[:, before:] if before else hidden


def _targets(batch: Mapping[str, Tensor], k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row and position in K·b rows of every target token, and the tokens, each [K·n].

    To find them by a mask is to wait for a GPU in the midst of a pass: a batch of the stream says where they are.
    """
    labels = batch["labels"]
    b, width = labels.shape
    at = batch["target_at"] if "target_at" in batch else labels.flatten().ne(-100).nonzero().flatten()
    slices_K1 = torch.arange(k, device=at.device)[:, None]
    return (slices_K1 * b + at // width).flatten(), (at % width).repeat(k), labels.flatten()[at].repeat(k)


def _slice_means(logits_nv: Tensor, targets_n: Tensor, k: int) -> Tensor:
    """[K] mean cross entropies; every slice has the same number of target tokens, for it has the same rows."""
    pairs: Any = zip(logits_nv.float().chunk(k), targets_n.chunk(k), strict=True)
    return torch.stack([cross_entropy(logits, targets) for logits, targets in pairs])
