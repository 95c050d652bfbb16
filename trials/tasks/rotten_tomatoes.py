"""Rotten Tomatoes: is a sentence from a film review negative or positive?"""

from trials.tasks.spec import Task

TASK = Task(
    name="rotten_tomatoes",
    category="SA",
    hub_id="cornell-movie-review-data/rotten_tomatoes",
    hub_config=None,
    revision="aa13bc287fa6fcab6daf52f0dfb9994269ffea28",
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
    row_tokens=31,
    unified=(0, 1),
    splits={"train": "train", "validation": "validation", "test": "test"},
    source="Pang and Lee, ACL 2005",
    example={"text": "a warm and generous comedy", "label": 1},
)
