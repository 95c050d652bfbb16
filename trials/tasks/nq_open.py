"""NQ-Open: a question that someone asked a search engine, answered with no text at hand."""

from trials.tasks.spec import Task

TASK = Task(
    name="nq_open",
    category="QA",
    hub_id="google-research-datasets/nq_open",
    hub_config="nq_open",
    revision="5dd9790a83002ad084ddeb7c420dc716852c6f28",
    columns=("question",),
    answer_column="answer",  # a list; any of them is right
    prompt={
        "bloom": "Question: {question}? Answer:",
        "t5": "Question: {question}? Answer:",
    },
    metric="exact_match",
    secondary=("token_f1",),
    max_input_length=256,
    max_generated_length=32,
    row_tokens=20,
    target_tokens=4,
    splits={"train": "train", "validation": "validation", "test": None},
    source="Kwiatkowski et al., TACL 2019; Lee et al., ACL 2019",
    example={"question": "who wrote the novel about the white whale", "answer": ["Herman Melville", "Melville"]},
)
