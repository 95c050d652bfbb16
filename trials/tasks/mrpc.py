"""MRPC: do two sentences from the news mean the same?"""

from trials.tasks.spec import Task

TASK = Task(
    name="mrpc",
    category="PI",
    hub_id="nyu-mll/glue",
    hub_config="mrpc",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("sentence1", "sentence2"),
    answer_column="label",
    labels=("not_equivalent", "equivalent"),
    words={
        "bert": ("no", "yes"),
        "bloom": (" no", " yes"),
        "t5": ("no", "yes"),
    },
    prompt={
        "bert": "{sentence1} {mask}, {sentence2}",
        "bloom": "Sentence 1: {sentence1} Sentence 2: {sentence2} Do the sentences mean the same? Answer:",
        "t5": "Sentence 1: {sentence1} Sentence 2: {sentence2} Do the sentences mean the same? Answer:",
    },
    metric="accuracy",
    secondary=("f1",),
    max_input_length=256,
    max_generated_length=1,
    row_tokens=68,
    unified=(0, 1),
    splits={"train": "train", "validation": "validation", "test": None},
    source="Dolan and Brockett, IWP 2005; GLUE, Wang et al., ICLR 2019",
    example={
        "sentence1": "Shares rose two percent on Tuesday.",
        "sentence2": "On Tuesday the shares gained two percent.",
        "label": 1,
    },
)
