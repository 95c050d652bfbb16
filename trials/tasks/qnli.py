"""QNLI: does a sentence contain the answer to a question?"""

from trials.tasks.spec import Task

TASK = Task(
    name="qnli",
    category="NLI",
    hub_id="nyu-mll/glue",
    hub_config="qnli",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("question", "sentence"),
    answer_column="label",
    labels=("entailment", "not_entailment"),
    words={
        "bert": ("yes", "no"),
        "bloom": (" yes", " no"),
        "t5": ("yes", "no"),
    },
    prompt={
        "bert": "{question} {mask}, {sentence}",
        "bloom": "Question: {question} Sentence: {sentence} Does the sentence answer the question? Answer:",
        "t5": "Question: {question} Sentence: {sentence} Does the sentence answer the question? Answer:",
    },
    metric="accuracy",
    secondary=(),
    max_input_length=256,
    max_generated_length=1,
    row_tokens=65,
    unified=(1, 0),
    splits={"train": "train", "validation": "validation", "test": None},
    source="Rajpurkar et al., EMNLP 2016; GLUE, Wang et al., ICLR 2019",
    example={"question": "When was the bridge built?", "sentence": "The bridge was opened in 1894.", "label": 0},
)
