"""RTE: does a text entail a statement?"""

from trials.tasks.spec import Task

TASK = Task(
    name="rte",
    category="NLI",
    hub_id="nyu-mll/glue",
    hub_config="rte",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("sentence1", "sentence2"),
    answer_column="label",
    labels=("entailment", "not_entailment"),
    words={
        "bert": ("yes", "no"),
        "bloom": (" yes", " no"),
        "t5": ("yes", "no"),
    },
    prompt={
        "bert": "{sentence1} {mask}, {sentence2}",
        "bloom": "Premise: {sentence1} Hypothesis: {sentence2} Does the premise entail the hypothesis? Answer:",
        "t5": "Premise: {sentence1} Hypothesis: {sentence2} Does the premise entail the hypothesis? Answer:",
    },
    metric="accuracy",
    secondary=(),
    max_input_length=256,
    max_generated_length=1,
    row_tokens=82,
    unified=(1, 0),
    splits={"train": "train", "validation": "validation", "test": None},
    source="Dagan et al., 2006 to Bentivogli et al., 2009; GLUE, Wang et al., ICLR 2019",
    example={
        "sentence1": "The storm left thousands of homes without power.",
        "sentence2": "No house lost electricity.",
        "label": 1,
    },
)
