"""IMDB: is a whole film review negative or positive?"""

from trials.tasks.spec import Task

TASK = Task(
    name="imdb",
    category="SA",
    hub_id="stanfordnlp/imdb",
    hub_config="plain_text",
    revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
    columns=("text",),
    answer_column="label",
    labels=("neg", "pos"),
    words={
        "bert": ("terrible", "great"),
        "bloom": (" negative", " positive"),
        "t5": ("negative", "positive"),
    },
    prompt={
        "bert": "{text} It was {mask}.",
        "bloom": "Review: {text} Sentiment:",
        "t5": "Review: {text} Sentiment:",
    },
    metric="accuracy",
    secondary=(),
    max_input_length=128,
    max_generated_length=1,
    row_tokens=125,
    unified=(0, 1),
    splits={"train": "train", "validation": None, "test": "test"},
    source="Maas et al., ACL 2011",
    example={"text": "I wanted to like this film, but it never finds its story.", "label": 0},
)
