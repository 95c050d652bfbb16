"""QQP: do two questions from Quora ask the same?"""

from trials.tasks.spec import Task

TASK = Task(
    name="qqp",
    category="PI",
    hub_id="nyu-mll/glue",
    hub_config="qqp",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("question1", "question2"),
    answer_column="label",
    labels=("not_duplicate", "duplicate"),
    words={
        "bert": ("no", "yes"),
        "bloom": (" no", " yes"),
        "t5": ("no", "yes"),
    },
    prompt={
        "bert": "{question1} {mask}, {question2}",
        "bloom": "Question 1: {question1} Question 2: {question2} Do the questions ask the same? Answer:",
        "t5": "Question 1: {question1} Question 2: {question2} Do the questions ask the same? Answer:",
    },
    metric="accuracy",
    secondary=("f1",),
    max_input_length=256,
    max_generated_length=1,
    row_tokens=45,
    unified=(0, 1),
    splits={"train": "train", "validation": "validation", "test": None},
    source="Quora, 2017; GLUE, Wang et al., ICLR 2019",
    example={"question1": "Why is the sky blue?", "question2": "Why does the sky turn red in the evening?", "label": 0},
)
