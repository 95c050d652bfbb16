"""What a model folder holds beside its weights that is passed over, so that whoever plans or loads can say so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trials.errors import ApetError
from trials.sources.folders import SAFETENSORS, json_of, weight_files

# Keys of generation_config.json and of older config.json that change greedy generation → values that change nothing
_GENERATION: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0,),
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "diversity_penalty": (0,),
    "guidance_scale": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "bad_words_ids": ([],),
    "force_words_ids": ([],),
    "constraints": ([],),
    "sequence_bias": ({}, []),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "forced_decoder_ids": ([],),
    "exponential_decay_length_penalty": (),
    "stop_strings": ([],),
    "watermarking_config": ({},),
}
_SAMPLING = {"temperature": (1,), "top_k": (0, 50), "top_p": (1,), "typical_p": (1,)}  # with do_sample alone
_LOADING: Mapping[str, tuple[Any, ...]] = {"quantization_config": ({},)}  # of config.json: weights other than as stored
_ADAPTERS = ("adapter_config.json", "adapter_model.")  # of PEFT


def ignored(folder: Path) -> list[str]:
    """What lies in a model folder that other programs would let change results, and that is passed over here.

    Empty for a folder that holds no such thing, or that can't be read: others say so.
    """
    found = []
    for name in ("config.json", "generation_config.json"):
        try:
            values = json_of(folder / name) if (folder / name).is_file() else {}
        except ApetError:
            values = {}
        sampled = values.get("do_sample") is True
        keys = {**_GENERATION, **(_SAMPLING if sampled else {}), **(_LOADING if name == "config.json" else {})}
        odd = [f"{key} {json.dumps(values[key])[:40]}" for key in keys if values.get(key) not in (None, *keys[key])]
        if odd:
            found.append(
                f"{folder / name} sets {', '.join(odd)}, which is ignored: text is generated greedily, from the "
                "weights as they are"
            )
    adapter = next((p for p in sorted(folder.glob("adapter_*")) if p.name.startswith(_ADAPTERS)), None)
    if adapter is not None:
        found.append(
            f"{adapter} is ignored: a PEFT adapter beside the weights is no part of the backbone; merge it first"
        )
    return found


def head_unseen(folder: Path) -> str:
    """Why an encoder's language-model head went unseen where nothing says whether it has one; else empty."""
    kinds = json_of(folder / "config.json").get("architectures")
    if next(folder.glob(SAFETENSORS), None) is not None or (isinstance(kinds, list) and kinds):
        return ""
    weights = next((path.name for path in weight_files(folder) if path.suffix == ".bin"), "its weights")
    return (
        f"no language-model head was found: {folder / 'config.json'} has no `architectures`, and {weights} is only "
        'opened to train; if it has one, write "architectures": ["BertForMaskedLM"] there, or give safetensors'
    )
