"""The counts of the study's authors, from their code, beside ours: Su et al. 2023, Table 2."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_T5_BITFIT = (
    "T5 has no biases: the authors added some, in a way that can't be reproduced to the digit (theirs seem to include "
    "the lm_head's 32 128); ours has one on every output of the blocks' linear layers and of the norms"
)


def _row(lora: int, adapter: int, prompt: int, bitfit: int) -> Mapping[str, int]:
    return MappingProxyType({"lora": lora, "adapter": adapter, "prompt": prompt, "bitfit": bitfit})


COUNTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "bert-small": _row(65_536, 200_896, 51_200, 23_040),
        "bert-base": _row(294_912, 903_744, 76_800, 102_144),
        "bert-large": _row(786_432, 2_409_600, 102_400, 271_360),
        "bloom-560m": _row(786_432, 2_409_600, 102_400, 272_384),
        "bloom-1b1": _row(1_179_648, 2_409_600, 153_600, 408_576),
        "bloom-7b1": _row(3_932_160, 12_043_680, 409_600, 1_359_872),
        "t5-small": _row(229_376, 803_584, 51_200, 121_216),
        "t5-base": _row(589_824, 1_807_488, 76_800, 270_208),
        "t5-xxl": _row(6_291_456, 19_269_888, 409_600, 2_444_644),
    }
)
"""Tunable parameters by backbone and method; BERT's without its pooler."""

WHY: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("bloom-1b1", "adapter"): "the authors' is a copy of bloom-560m's; the formula of their other rows gives ours",
        **{(name, "bitfit"): _T5_BITFIT for name in COUNTS if name.startswith("t5")},
    }
)
"""Why a count differs from ours at the default sizes."""
