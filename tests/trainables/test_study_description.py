"""What study.yaml says of what a study runs on."""

from __future__ import annotations

from minbert.bundled import CORPUS
from minbert.corpora.reader import read_corpus
from minbert.sources import resolve
from tests.trainables.commands import SPACE
from trainables.spaces.space import load_space
from trainables.studies.study_description import described_study


def test_the_examples_of_every_task_and_split_are_counted() -> None:
    space = load_space(str(SPACE))
    tasks = space.example().tasks
    sources = resolve(str(CORPUS), "auto", tasks)
    counted = described_study(space, sources, seed=0, command="")["data"]["examples"]
    corpus = read_corpus(CORPUS, tasks)
    assert set(counted) == set(tasks)
    for task, splits in corpus.splits.items():
        assert counted[task] == {split: len(examples.ids) for split, examples in splits.items()}
        assert counted[task]["train"] > counted[task]["dev"] > 0
