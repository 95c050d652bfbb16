"""SAMSum: the summary of a chat."""

from trials.tasks.spec import Task

TASK = Task(
    name="samsum",
    category="SUM",
    hub_id="knkarthick/samsum",  # Samsung/samsum is a loading script, which `datasets` no longer runs
    hub_config=None,
    revision="f8040674894a743112febaddde2b32264c07bb20",
    columns=("dialogue",),
    answer_column="summary",
    prompt={
        "bloom": "Dialogue: {dialogue} Summary:",
        "t5": "Dialogue: {dialogue} Summary:",
    },
    metric="rougeL",
    secondary=("rouge1", "rouge2"),
    max_input_length=256,
    max_generated_length=128,
    row_tokens=153,
    target_tokens=26,
    splits={"train": "train", "validation": "validation", "test": "test"},
    source="Gliwa et al., New Frontiers in Summarization 2019",
    example={
        "dialogue": "Anna: are you coming tonight?\r\nBen: I still have homework, but I will try.",
        "summary": "Ben will try to come tonight.",
    },
)
