"""Multi-News: one summary of several news articles on the same event; ``|||||`` stands between the articles."""

from trials.tasks.spec import Task

TASK = Task(
    name="multi_news",
    category="SUM",
    hub_id="alexfabbri/multi_news",
    hub_config=None,
    revision="refs/convert/parquet",  # main is a loading script, which `datasets` no longer runs
    columns=("document",),
    answer_column="summary",
    prompt={
        "bloom": "Articles: {document} Summary:",
        "t5": "Articles: {document} Summary:",
    },
    metric="rougeL",
    secondary=("rouge1", "rouge2"),
    max_input_length=256,
    max_generated_length=64,
    row_tokens=320,
    target_tokens=65,
    splits={"train": "train", "validation": "validation", "test": "test"},
    source="Fabbri et al., ACL 2019",
    example={
        "document": "The bridge reopens on Monday, the council said. ||||| After eighteen months of repair, "
        "traffic may cross the old bridge again.",
        "summary": "The old bridge reopens on Monday after eighteen months of repair.",
    },
)
