"""Makes the tokenizers of tiny-bert, tiny-bloom and tiny-t5 from ``corpus.txt``: ``python -m trials.tokenizers.make``.

Each has exactly 2 048 tokens and its family's form: BERT lower-case word pieces, BLOOM bytes with the space in
front, T5 pieces with a leading ``▁`` and bytes for what no piece covers. The results are committed: a new one is a
new backbone, so raise the version of its weights in ``trials/backbones.py`` with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
VOCAB = 2048
# words that must be one token each: label words of the tasks, present and likely ones
WORDS = (
    *("positive", "negative", "great", "terrible", "good", "bad"),
    *("yes", "no", "maybe", "true", "false", "same", "different", "right", "wrong"),
    *"0123456789",
)


def corpus() -> Iterator[str]:
    """The lines of the corpus, then every label word often enough to become one token."""
    yield from (HERE / "corpus.txt").read_text(encoding="utf-8").splitlines()
    yield from (f"it is {word}" for word in WORDS for _ in range(100))


def tiny_bert() -> Tokenizer:
    """Word pieces of lower-case text; ``[CLS] a [SEP]`` and ``[CLS] a [SEP] b [SEP]``."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=True)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # naming the inner characters fixes their ids, which otherwise follow the order of a hash table
    inner = [f"##{c}" for c in _ascii()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCAB, special_tokens=[*special, *inner], initial_alphabet=_ascii(), show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer = trained.normalizer
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def tiny_bloom() -> Tokenizer:
    """Byte pairs; a word's space belongs to it; nothing is added in front or behind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def tiny_t5() -> Tokenizer:
    """Pairs over ``▁word``, 256 bytes for unseen characters; ``</s>`` closes a text."""
    special = ["<pad>", "</s>", "<unk>"]
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = space
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 256, special_tokens=special, initial_alphabet=_ascii(), show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces[len(special) :]]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=[(a, b) for a, b in model["merges"]],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = space
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


def _ascii() -> list[str]:
    """The printable characters: a text in plain English has no unknown one."""
    return [chr(code) for code in range(33, 127)]


TINY: dict[str, tuple[Callable[[], Tokenizer], dict[str, str | int]]] = {
    "tiny-bert": (
        tiny_bert,
        {
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
            "model_max_length": 256,
        },
    ),
    "tiny-bloom": (
        tiny_bloom,
        {
            "pad_token": "<pad>",
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "padding_side": "left",
        },
    ),
    "tiny-t5": (tiny_t5, {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}),
}


def main() -> None:
    """Write the three folders beside this file."""
    for name, (make, config) in TINY.items():
        tokenizer = make()
        assert tokenizer.get_vocab_size() == VOCAB, f"{name} has {tokenizer.get_vocab_size()} tokens"
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        text = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}, indent=1)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
        print(f"{folder.name}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
