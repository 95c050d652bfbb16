"""MNLI: does a premise entail a hypothesis, contradict it, or neither? Scored on the matched set."""

from trials.tasks.spec import Task

TASK = Task(
    name="mnli",
    category="NLI",
    hub_id="nyu-mll/glue",
    hub_config="mnli",
    revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    columns=("premise", "hypothesis"),
    answer_column="label",
    labels=("entailment", "neutral", "contradiction"),
    words={
        "bert": ("yes", "maybe", "no"),
        "bloom": (" yes", " maybe", " no"),
        "t5": ("yes", "maybe", "no"),
    },
    prompt={
        "bert": "{premise} {mask}, {hypothesis}",
        "bloom": "Premise: {premise} Hypothesis: {hypothesis} Does the premise entail the hypothesis? Answer:",
        "t5": "Premise: {premise} Hypothesis: {hypothesis} Does the premise entail the hypothesis? Answer:",
    },
    metric="accuracy",
    secondary=(),
    max_input_length=256,
    max_generated_length=1,
    row_tokens=54,
    unified=(1, 0, 0),
    splits={"train": "train", "validation": "validation_matched", "test": None},
    source="Williams et al., NAACL 2018; GLUE, Wang et al., ICLR 2019",
    example={"premise": "All of the guests left early.", "hypothesis": "Nobody stayed until midnight.", "label": 0},
)
