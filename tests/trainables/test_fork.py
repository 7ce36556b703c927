"""A study that begins with what another one already knows."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from analysis.provenance import facts
from analysis.study import load
from minbert.bundled import CORPUS, ENCODER
from minbert.corpora.tokenised import open_tokenised, tokenised
from minbert.errors import UserError
from minbert.files.durable import read_json_lines
from minbert.files.journal_owner import OF, owner
from minbert.files.sealed import sealed_line
from minbert.sources import Sources, resolve
from minbert.stages import LocalStageStore
from minbert.trial import Materials, Trial
from minbert.yaml_reader import load_config
from tests.trainables.commands import CommandLine
from tests.trainables.killing import Mortal
from tests.trainables.studies import counted, history, outcome, predictions, weights
from trainables.designs.sampler import build_sampler
from trainables.spaces.space import Space, load_space
from trainables.studies.fork import Wanted, find_fork, show_fork, take_over
from trainables.studies.ledger import Issue, Ledger
from trainables.studies.locks import locked
from trainables.studies.study import StudyFolder, make_folder, pinned_sources, read_spec, refuse_another_study
from trainables.studies.study_description import described_plan, described_study

RATE = "stages.finetune.learning_rate"
NUMERICS = {"device": "cpu", "precision": "fp32", "threads": 1}
STAGES = (
    "stages: {simcse: {epochs: 1, epoch_examples: 32}, finetune: {epochs: 2, epoch_examples: 48, "
    "learning_rate: RATE}}\n"
)
DRAWN = "search: {sampler: random, trials: 5, early_stopping: {grace_epochs: 1, reduction: 3}}\n"
POOLING = "pooling: {choice: [mean, cls]}\n"
RANGE = STAGES.replace("RATE", "{log_uniform: [1e-5, 1e-3]}")
THERE = DRAWN + POOLING + RANGE
"""The space of the study that is taken over from."""


def space_of(folder: Path, content: str) -> Space:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.yaml").write_text("description: A study and its forks\n" + content)
    return load_space(str(folder / "space.yaml"))


class Old:
    """A study, trained without Ray: trials 0 and 2 are complete with mean and cls, 1 was stopped early, 3 failed,
    4 is complete at a high learning rate, 5 repeats 0 with another seed."""

    def __init__(self, folder: Path) -> None:
        space = space_of(folder.parent, THERE)
        self.sources = sources_of(space)
        pinned = {**pinned_sources(self.sources), **NUMERICS}
        described = {**described_study(space, self.sources, 0, "a command"), **NUMERICS}
        self.folder = make_folder(folder, {**described, **described_plan(space, pinned)})
        corpus = tokenised(
            self.sources.corpus, space.example().tasks, self.sources.encoder, folder / "corpus"
        )
        files = self.sources.encoder
        self._materials = Materials(
            open_tokenised(corpus), files, files.weights(), LocalStageStore(folder / "stages")
        )
        ledger = ledger_of(self.folder, space, self.sources)
        for pooling, rate, end in (
            ("mean", 1e-4, "complete"), ("mean", 5e-4, "pruned"), ("cls", 1e-4, "complete"),
            ("cls", 2e-4, "failed"), ("cls", 9e-4, "complete"),
        ):  # fmt: skip
            ledger._study.enqueue_trial({"pooling": pooling, RATE: rate})
            self._train(ledger, end)
        self._train(
            ledger_of(self.folder, space.fix("search.replicates", 2).fix("search.trials", 6), self.sources)
        )

    def _train(self, ledger: Ledger, end: str = "complete") -> None:
        issue = ledger.next()
        assert issue is not None
        if end == "failed":
            ledger.finish(issue.number, "failed", "nan", "the loss is nan")
            return
        trial = Trial(issue.config, self._materials, self.folder.trial(issue.number))
        for record in trial.run():
            ledger.report(issue.number, record)
            if end == "pruned" and record.get("final_stage"):
                break
        ledger.finish(issue.number, "pruned" if end == "pruned" else "complete")


def sources_of(space: Space) -> Sources:
    return resolve(str(CORPUS), str(ENCODER), space.example().tasks)


def ledger_of(folder: StudyFolder, space: Space, sources: Sources) -> Ledger:
    study = folder.journal(build_sampler(space, 0, 0))
    return Ledger(study, space, {**pinned_sources(sources), **NUMERICS}, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Old:
    return Old(tmp_path_factory.mktemp("old") / "study")


@pytest.fixture
def old(trained: Old, tmp_path: Path) -> Path:
    """A copy of the study, to be damaged."""
    return shutil.copytree(trained.folder.path, tmp_path / "old")


Taking = Callable[..., str]
Forked = Callable[..., tuple[StudyFolder, Ledger, str]]


@pytest.fixture
def take(trained: Old, old: Path, tmp_path: Path) -> Taking:
    """Take over into a study of a space; returns what was said."""

    def call(content: str, seed: int = 0) -> str:
        space, said, new = space_of(tmp_path / "new space", content), io.StringIO(), tmp_path / "new"
        wanted = Wanted(space, trained.sources, seed, "a command")
        with locked(new):
            take_over(find_fork(old, new), wanted, Console(file=said, width=1000))
        return said.getvalue()

    return call


@pytest.fixture
def fork(take: Taking, trained: Old, tmp_path: Path) -> Forked:
    """The same; returns the folder, the account that a search goes on with, and what was said."""

    def call(content: str) -> tuple[StudyFolder, Ledger, str]:
        said = take(content)
        folder = StudyFolder(tmp_path / "new", read_spec(tmp_path / "new") or {})
        space = load_space(str(tmp_path / "new space" / "space.yaml"))
        return folder, ledger_of(folder, space, trained.sources), said

    return call


def taken(ledger: Ledger) -> list[int]:
    """Numbers, in the study they come from, of the trials that were taken over."""
    return [trial.user_attrs["forked_from"] for trial in ledger.trials()]


def issues(ledger: Ledger) -> list[Issue]:
    """All that is left to run."""
    found = []
    while (issue := ledger.next()) is not None:
        found.append(issue)
    return found


def test_a_trial_that_the_new_space_would_run_just_so_is_told_as_if_it_had_run(
    fork: Forked, old: Path
) -> None:
    folder, ledger, said = fork(DRAWN + "pooling: mean\n" + RANGE)
    before, after = counted(old)[0], ledger.trials()[0]
    assert taken(ledger) == [0, 1]
    assert after.params == {RATE: 1e-4}
    assert after.distributions == {RATE: before.distributions[RATE]}
    assert (after.state, after.value) == (TrialState.COMPLETE, before.value)
    assert after.intermediate_values == before.intermediate_values
    assert after.user_attrs == before.user_attrs | {"cost_paid": 0.0, "forked_from": 0}
    for read in (history, predictions, weights):
        assert read(folder.trial(0)) == read(old / "trials" / "00000") != {}  # type: ignore[comparison-overlap]
    assert load_config(folder.trial(0) / "config.yaml") == load_config(old / "trials/00000/config.yaml")
    assert "2 of 5 finished trials and 3 of 3 stages hold" in said
    assert "2 do not: pooling ('cls' there, 'mean' now)" in said


def test_stages_are_taken_over_into_the_store_that_the_command_names(
    trained: Old, old: Path, tmp_path: Path
) -> None:
    space, new, store = space_of(tmp_path / "new space", THERE), tmp_path / "new", tmp_path / "store"
    wanted = Wanted(space, trained.sources, 0, "a command", stages=store)
    with locked(new):
        take_over(find_fork(old, new), wanted, Console(file=io.StringIO()))
    there = sorted(entry.name for entry in (old / "stages").iterdir())
    assert sorted(entry.name for entry in store.iterdir()) == there != []
    assert all(LocalStageStore(store).has(name) for name in there)
    assert not [*new.glob("stages/*")]


def test_the_other_study_stays_as_it_was(fork: Forked, old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    fork(THERE)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_what_was_taken_over_counts_as_run(fork: Forked) -> None:
    _, ledger, _ = fork(THERE)
    assert taken(ledger) == [0, 1, 2, 4]
    assert (ledger.started, ledger.unfinished, len(issues(ledger))) == (4, 1, 1)


def test_values_outside_of_a_narrower_range_do_not_hold(fork: Forked) -> None:
    _, ledger, said = fork(DRAWN + POOLING + STAGES.replace("RATE", "{log_uniform: [1e-5, 2e-4]}"))
    assert taken(ledger) == [0, 2]
    assert f"2 do not: {RATE} (0.0005 there" in said


def test_a_grid_runs_only_what_it_does_not_find(fork: Forked) -> None:
    _, ledger, said = fork(
        "search: {design: grid}\n" + POOLING + STAGES.replace("RATE", "{choice: [1e-4, 5e-4]}")
    )
    assert taken(ledger) == [0, 2]
    assert "1 do not: early stopping" in said  # the grid would have run trial 1 to its end
    left = [(each.config.pooling, each.config.stages["finetune"].learning_rate) for each in issues(ledger)]  # type: ignore[union-attr]
    assert left == [("mean", 5e-4), ("cls", 5e-4)]


def test_a_run_of_a_list_is_recognised_by_what_it_sets(fork: Forked) -> None:
    runs = "search: {design: listed}\nruns: {usual: {}, other: {set: {pooling: cls}}}\n"
    _, ledger, _ = fork(runs + STAGES.replace("RATE", "1e-4"))
    assert {trial.params["run"]: trial.user_attrs["forked_from"] for trial in ledger.trials()} == {
        "usual": 0, "other": 2,
    }  # fmt: skip
    assert ledger.done


def test_a_combination_that_the_design_does_not_run_does_not_hold(fork: Forked) -> None:
    _, ledger, said = fork(
        "search: {design: one_factor}\ncheckpoint: score\n"
        + POOLING
        + STAGES.replace("RATE", "{choice: [1e-4, 9e-4]}")
    )
    assert taken(ledger) == [0, 2, 5]
    assert "1 do not: configurations that this design does not run" in said


def test_a_trial_stopped_early_holds_where_it_could_have_been_stopped_there(fork: Forked) -> None:
    _, ledger, said = fork(THERE.replace("grace_epochs: 1", "grace_epochs: 2"))
    assert taken(ledger) == [0, 2, 4]
    assert "1 do not: early stopping (stopped where nothing stops now)" in said


def test_replicates_hold_where_the_study_asks_for_them_and_their_first_run_holds(
    fork: Forked, old: Path
) -> None:
    _, ledger, _ = fork(THERE.replace("trials: 5", "trials: 9, replicates: 2"))
    assert taken(ledger) == [0, 1, 2, 4, 5]
    assert [issue.replicate for issue in issues(ledger)][:2] == [1, 1]  # of trials 2 and 4


def test_a_replicate_without_its_first_run_does_not_hold(fork: Forked, old: Path) -> None:
    (old / "trials" / "00000" / "history.jsonl").unlink()
    _, ledger, said = fork(THERE.replace("trials: 5", "trials: 9, replicates: 2"))
    assert taken(ledger) == [1, 2, 4]
    assert "replicate 1, whose first run does not hold" in said


def test_where_training_itself_differs_only_stages_hold(fork: Forked) -> None:
    folder, ledger, said = fork(THERE.replace("epochs: 2", "epochs: 3"))
    assert taken(ledger) == []
    assert "0 of 5 finished trials and 3 of 3 stages hold" in said
    assert "5 do not: stages.finetune.epochs (2 there, 3 now)" in said
    assert len(list(folder.stages.iterdir())) == 3


def test_what_is_damaged_is_left_behind_and_counted(fork: Forked, old: Path) -> None:
    flip(old / "trials" / "00000" / "history.jsonl")
    flip(old / "trials" / "00002" / "predictions" / "sst.parquet")
    flip(old / "trials" / "00004" / "best" / "heads.safetensors")
    flip(next(old.glob("stages/*/state.safetensors")))
    folder, ledger, said = fork(THERE)
    assert taken(ledger) == [1, 4]
    assert not (folder.trial(1) / "best").exists()  # can be made again
    assert "2 do not: damaged (00000/history.jsonl is not what was written)" in said
    assert "2 of 3 stages" in said


@pytest.mark.parametrize("name", ["history.jsonl", "config.yaml"])
def test_what_cannot_be_read_for_a_moment_is_not_taken_for_damage(
    name: str, take: Taking, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.open

    def fail(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == old / "trials" / "00000" / name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return whole(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        take(THERE)


def test_a_history_that_lost_its_beginning_is_damaged(fork: Forked, old: Path) -> None:
    history = old / "trials" / "00000" / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[1:]))
    _, _, said = fork(THERE)
    assert "damaged (00000/history.jsonl" in said


def test_another_runs_history_is_left_behind(fork: Forked, old: Path) -> None:
    file = old / "trials" / "00000" / "history.jsonl"
    records = [{**record, "of": "another run"} for record in read_json_lines(file)]
    file.write_bytes(b"".join(sealed_line(record) + b"\n" for record in records))
    _, ledger, said = fork(THERE)
    assert taken(ledger) == [1, 2, 4]
    assert "00000/history.jsonl belongs to another run" in said


def test_a_history_without_its_end_is_damaged(fork: Forked, old: Path) -> None:
    file = old / "trials" / "00000" / "history.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    _, ledger, said = fork(THERE)
    assert taken(ledger) == [1, 2, 4]
    assert "other epochs than the journal" in said


@pytest.mark.parametrize("sealed", [True, False])
def test_a_configuration_that_was_changed_or_counts_otherwise_now_does_not_hold(
    fork: Forked, old: Path, sealed: bool
) -> None:
    file = old / "trials" / "00000" / "config.yaml"
    changed = file.read_text().replace("pooling: mean", "pooling: cls")
    file.write_text(changed if sealed else changed.partition("\n")[2])
    _, ledger, said = fork(THERE)
    assert taken(ledger) == [1, 2, 4]
    reason = (
        "damaged (00000/config.yaml is not what was written)"
        if sealed
        else "of another version of the program"
    )
    assert reason in said


def test_of_a_journal_damaged_in_its_middle_what_stands_before_holds(fork: Forked, old: Path) -> None:
    lines = (old / "journal.log").read_bytes().splitlines(keepends=True)
    end = next(at for at, line in enumerate(lines) if b'"trial_id": 2' in line)
    lines[end + 1] = b"\0" * 20 + b"\n"
    (old / "journal.log").write_bytes(b"".join(lines))
    _, ledger, said = fork(THERE)
    assert taken(ledger) == [0, 1]
    assert f"not known: what came after {old / 'journal.log'}:{end + 2}: damaged" in said


def test_with_another_seed_nothing_holds_and_nothing_is_copied(take: Taking, tmp_path: Path) -> None:
    said = take(THERE, seed=3)
    assert said.endswith("made with another seed (0 there, 3 now)\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_device_precision_and_threads_are_taken_over_unless_others_are_asked_for(take: Taking) -> None:
    assert "made with another threads (1 there, 2 now)" in take("threads: 2\n" + THERE)
    assert "nothing of" not in take("device: cpu\n" + THERE.replace("trials: 5", "trials: 6"))


def test_what_the_space_leaves_open_is_as_it_was_there(fork: Forked) -> None:
    folder, _, _ = fork(THERE)
    assert {name: folder.spec[name] for name in NUMERICS} == NUMERICS


def test_a_fork_knows_where_it_came_from_and_needs_it_no_more(fork: Forked, old: Path) -> None:
    folder, _, _ = fork(THERE)
    assert folder.spec["forked_from"] == {"study": str(old), "trials": 4, "stages": 3}
    journal = (folder.path / "journal.log").read_bytes()
    shutil.rmtree(old)
    _, ledger, said = fork(THERE)
    assert taken(ledger) == [0, 1, 2, 4]
    assert (said, (folder.path / "journal.log").read_bytes()) == ("", journal)


def test_a_fork_can_be_forked(fork: Forked, trained: Old, tmp_path: Path) -> None:
    folder, _, _ = fork(THERE)
    space, third = space_of(tmp_path / "third space", THERE), tmp_path / "third"
    with locked(third):
        take_over(
            find_fork(folder.path, third), Wanted(space, trained.sources, 0), Console(file=io.StringIO())
        )
    assert [trial.user_attrs["forked_from"] for trial in counted(third)] == [0, 1, 2, 3]


def test_reports_read_a_fork(fork: Forked) -> None:
    folder, _, _ = fork(THERE)
    study = load(folder.path)
    assert list(study.trials["state"]) == ["complete", "pruned", "complete", "complete"]
    assert list(study.trials["cost_paid"]) == [0.0] * 4
    assert (study.trials["cost_alone"] > 0).all()
    assert sorted(study.predictions("sts")["number"].unique()) == [0, 2, 3]
    assert not study.damage
    assert dict(facts(study, "report/score"))["Taken over"].startswith("4 trials from ")


def test_a_fork_that_was_killed_doubles_nothing_and_leaves_nothing_that_does_not_count(
    fork: Forked, tmp_path: Path
) -> None:
    folder, _, _ = fork(THERE)
    journal = (folder.path / "journal.log").read_bytes()
    begun = {"study": folder.spec["forked_from"]["study"]}
    make_folder(folder.path, folder.spec | {"forked_from": begun})
    shutil.copytree(folder.trial(0), folder.trial(4))  # its record was not written any more
    theirs = folder.path / "trials" / "00000.bak"
    theirs.mkdir()
    again, _, said = fork(THERE)
    assert "4 of 5 finished trials" in said
    assert (folder.path / "journal.log").read_bytes() == journal
    assert not folder.trial(4).exists() and theirs.is_dir()
    assert again.spec == folder.spec


def test_a_fork_that_is_not_all_there_is_continued_by_its_own_command_only(
    fork: Forked, search_command: CommandLine, tmp_path: Path
) -> None:
    folder, _, _ = fork(THERE)
    make_folder(folder.path, folder.spec | {"forked_from": {"study": folder.spec["forked_from"]["study"]}})
    space = str(tmp_path / "new space" / "space.yaml")
    code, errors = search_command("--space", space, "--data", str(CORPUS), "--study", str(folder.path))
    assert code == 2
    assert "taking over from" in errors
    assert "with --fork, again" in errors


def test_a_fork_of_the_same_study_into_another_space_is_not_continued(take: Taking) -> None:
    take(THERE)
    with pytest.raises(
        UserError, match=r"--fork .*: made with another search space .* choose another --fork folder$"
    ):
        take(THERE.replace("epochs: 2", "epochs: 3"))


def test_a_study_on_which_a_search_runs_is_not_forked(fork: Forked, old: Path, tmp_path: Path) -> None:
    with locked(old), pytest.raises(UserError, match="in use by another search"):
        fork(THERE)
    assert not (tmp_path / "new").exists()


def test_a_dry_run_says_what_would_hold_and_writes_nothing(old: Path, trained: Old, tmp_path: Path) -> None:
    space, said = space_of(tmp_path / "new space", THERE), io.StringIO()
    before = sorted(tmp_path.rglob("*"))
    show_fork(
        find_fork(old, tmp_path / "new"), Wanted(space, trained.sources, 0), Console(file=said, width=1000)
    )
    assert "4 of 5 finished trials and 3 of 3 stages hold" in said.getvalue()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_refusal_of_another_space_names_the_way_out(old: Path, trained: Old, tmp_path: Path) -> None:
    space = space_of(tmp_path / "new space", THERE.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(UserError, match="or take over what still holds with --fork NEW"):
        refuse_another_study(old, Wanted(space, trained.sources, 0).identity)


def test_a_study_beside_whose_trials_a_user_put_files_is_as_good_as_before(old: Path, trained: Old) -> None:
    wanted = Wanted(space_of(old.parent, THERE), trained.sources, 0).identity
    for name in ("00000.tar.gz", "0\u0663"):
        (old / "trials" / name).write_text("a user's")
    refuse_another_study(old, wanted)
    (old / "trials" / "00099").write_text("a user's")
    with pytest.raises(UserError, match="trials/00099: is no folder, as a study has it there"):
        refuse_another_study(old, wanted)


def test_a_study_yaml_of_another_study_than_the_journal_is_refused(old: Path, trained: Old) -> None:
    wanted = Wanted(space_of(old.parent, THERE), trained.sources, 0).identity
    other = shutil.copytree(old, old.parent / "other")
    for path, seed in ((old, 0), (other, 5)):
        journal = StudyFolder(path, {}).journal(optuna.samplers.RandomSampler())
        journal.set_user_attr(OF, owner({**wanted, **NUMERICS, "seed": seed}))
    refuse_another_study(old, wanted)
    with pytest.raises(
        UserError, match=r"study\.yaml: seed is 0, but that of the trials in journal\.log is 5"
    ):
        refuse_another_study(other, wanted)


@pytest.mark.long
def test_a_search_killed_while_it_took_over_ends_as_if_undisturbed(
    fork: Forked, old: Path, trained: Old, tmp_path: Path
) -> None:
    undisturbed, _, _ = fork(DRAWN + "pooling: mean\n" + RANGE)
    arguments = (
        "--study",
        str(old),
        "--fork",
        str(tmp_path / "killed"),
        "--data",
        str(CORPUS),
        "--trials",
        "3",
    )
    search = Mortal(tmp_path, tmp_path / "new space" / "space.yaml", arguments)
    for point in ("stages.placed", "trials.placed"):
        search.die_at(point)
    output = search.run()
    assert "2 of 5 finished trials" in output
    found, expected = outcome(tmp_path / "killed"), outcome(undisturbed.path)
    assert {name: told(found[name]) for name in expected} == {name: told(expected[name]) for name in expected}
    assert [trial.number for trial in counted(tmp_path / "killed")] == [0, 1, 2]
    assert not [*(tmp_path / "killed").glob("*/.*")]
    assert "Top configurations" in output


def told(trial: dict[str, Any]) -> dict[str, Any]:
    """An outcome without the model, where no study keeps it: of a trial that was stopped early."""
    return {key: value for key, value in trial.items() if key != "weights" or trial["state"] == "COMPLETE"}


def flip(file: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
