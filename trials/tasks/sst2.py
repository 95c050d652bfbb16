"""SST-2: is a phrase from a film review negative or positive?"""

from trials.tasks.spec import Task

TASK = Task(
    name="sst2",
    category="SA",
    hub_id="nyu-mll/glue",
    hub_config="sst2",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("sentence",),
    answer_column="label",
    labels=("negative", "positive"),
    words={
        "bert": ("terrible", "great"),
        "bloom": (" negative", " positive"),
        "t5": ("negative", "positive"),
    },
    prompt={
        "bert": "{sentence} It was {mask}.",
        "bloom": "Review: {sentence} Sentiment:",
        "t5": "Review: {sentence} Sentiment:",
    },
    metric="accuracy",
    secondary=(),
    max_input_length=128,
    max_generated_length=1,
    row_tokens=29,
    unified=(0, 1),
    splits={"train": "train", "validation": "validation", "test": None},
    source="Socher et al., EMNLP 2013; GLUE, Wang et al., ICLR 2019",
    example={"sentence": "it has a lovely script", "label": 1},
)
