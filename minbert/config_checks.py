"""Combinations of settings that make no sense, across the parts of a configuration.

Every refusal is one sentence that names both settings and the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minbert.schema import refuse_unless
from minbert.stage_config import MultitaskStage, SimCSEStage, SupervisedSimCSEStage
from minbert.task_config import ONE_VALUE, TaskConfig

if TYPE_CHECKING:
    from minbert.config import TrainConfig


def check_stage(
    config: TrainConfig, name: str, stage: MultitaskStage | SimCSEStage | SupervisedSimCSEStage
) -> None:
    """Check a stage that runs against tasks and model.

    Raises:
        ValueError: they do not go together.
    """
    for leaf, tasks in _tasks_named(stage):
        for task in tasks:
            if task not in config.tasks:
                known = ", ".join(config.tasks)
                raise ValueError(f"stages.{name}.{leaf} names {task!r}; the tasks are {known}")
    if isinstance(stage, SupervisedSimCSEStage) and stage.task is not None:
        source = config.tasks[stage.task]
        if source.kind != "binary" or len(source.text) != 2:
            raise ValueError(
                f"stages.{name}.task {stage.task!r} is no binary pair task: it has no positive pairs"
            )
    if isinstance(stage, MultitaskStage):
        for task in config.trained_tasks(stage):
            if stage.sampler.order is not None and task not in stage.sampler.order:
                raise ValueError(
                    f"stages.{name}.sampler.order has no turn for {task!r}: name it there, write null for a turn of every "
                    "task, or leave it out of the stage's tasks"
                )
        _check_every_task_comes(config, name, stage)
        _check_ranking(config, name, stage)
        _check_single_task(config, name, stage)
        if stage.freeze_encoder:
            _check_frozen(config, name, stage)


def check_shared_layer(config: TrainConfig) -> None:
    """Check that the heads can share the layer that they are to share.

    Raises:
        ValueError: they cannot.
    """
    if config.shared_layer == "none" and config.shared_dropout:
        raise ValueError(
            f"shared_dropout {config.shared_dropout} has no effect here: it needs shared_layer all or pairs"
        )
    if config.shared_layer != "pairs":
        return
    heads = {name: task.head for name, task in config.tasks.items() if len(task.text) == 2}
    forms = {(head.kind, head.compared_by) for head in heads.values()}
    if len(heads) < 2 or len(forms) > 1 or any(kind not in ("cross", "concat") for kind, _ in forms):
        named = [f"tasks.{name}.head.kind {head.kind}" for name, head in heads.items()]
        raise ValueError(
            f"shared_layer 'pairs' does not go with {', '.join(named) or 'no pair task'}: at least two pair heads "
            "of one kind, cross or concat, with the same difference can share a layer"
        )


def _tasks_named(
    stage: MultitaskStage | SimCSEStage | SupervisedSimCSEStage,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Leaves of a stage that name tasks."""
    if isinstance(stage, SupervisedSimCSEStage):
        yield "task", () if stage.task is None else (stage.task,)
        return
    yield "tasks", stage.tasks or ()
    if isinstance(stage, MultitaskStage):
        yield "sampler.order", stage.sampler.order or ()
        yield "sampler.weights", tuple(stage.sampler.weights or ())
        yield "mnr.tasks", stage.mnr.tasks


def _check_every_task_comes(config: TrainConfig, name: str, stage: MultitaskStage) -> None:
    if stage.sampler.kind not in ("sequential", "round_robin") or stage.epoch_steps is None:
        return
    order = stage.sampler.order or tuple(config.trained_tasks(stage))
    needed = max(order.index(task) for task in order) + 1
    needed = len(order) if stage.sampler.kind == "sequential" or stage.sampler.unit == "pass" else needed
    if stage.epoch_steps < needed:
        raise ValueError(
            f"stages.{name}.epoch_steps {stage.epoch_steps} does not go with sampler.kind {stage.sampler.kind!r} and its "
            f"order {', '.join(order)}: {order[needed - 1]!r} would not have its turn; {needed} steps are needed at least"
        )


def _check_ranking(config: TrainConfig, name: str, stage: MultitaskStage) -> None:
    throughout = stage.ranked_epochs == stage.last_epoch
    for task in stage.mnr.tasks:
        size = config.tasks[task].batch_size or stage.batch_size
        _check_ranked_task(name, task, config.tasks[task], size, throughout)
    term = stage.smart.term
    if term and throughout and set(stage.mnr.tasks) == set(config.trained_tasks(stage)):
        raise ValueError(
            f"stages.{name}.{term} does not go with mnr.share {stage.mnr.share:g}: ranked tasks are not smoothed, "
            "and mnr.tasks are all"
        )
    looked_at = len(config.trained_tasks(stage)) - len(stage.mnr.tasks)
    if throughout and looked_at < 2 and stage.mnr.tasks:
        needed = "two tasks that mnr does not rank in some epoch: ranked ones are not compared"
        refuse_unless(False, stage, {"conflict_batches": 0}, needed, f"stages.{name}.")


def _check_ranked_task(name: str, task: str, config: TaskConfig, batch_size: int, throughout: bool) -> None:
    where = f"stages.{name}.mnr.tasks {task!r}"
    if config.head.kind not in ("concat", *ONE_VALUE):
        raise ValueError(
            f"{where} does not go with tasks.{task}.head.kind {config.head.kind!r}: ranking needs the sentences' "
            "own vectors, use concat, cosine or dot"
        )
    if config.kind == "classification":
        raise ValueError(f"{where} has classes: ranking needs positive pairs")
    if batch_size < 2:
        raise ValueError(f"{where} does not go with a batch_size of {batch_size}: ranking needs negatives")
    if config.head.kind == "concat" and throughout:
        raise ValueError(
            f"{where} with a share that covers all epochs does not go with tasks.{task}.head.kind 'concat': nothing "
            "would train that head; use cosine or dot, or a smaller mnr.share"
        )
    if throughout and config.head.kind == "cosine" and _has_parameters(config):
        raise ValueError(
            f"{where} with a share that covers all epochs does not go with tasks.{task}.head.learned_scale true: "
            "nothing would train that scale; write learned_scale false, or a smaller mnr.share"
        )


def _check_single_task(config: TrainConfig, name: str, stage: MultitaskStage) -> None:
    """Refuse what compares tasks where there is only one."""
    tasks = config.trained_tasks(stage)
    if len(tasks) > 1:
        return
    needed, within = f"several tasks, and the stage trains {tasks[0]!r} alone", f"stages.{name}."
    absent = {"pcgrad": False, "conflict_batches": 0, "combine": "sum"}
    refuse_unless(False, stage, absent, needed, within)
    refuse_unless(stage.weighting != "adaptive", stage, {"weighting": "fixed"}, needed, within)


def _check_frozen(config: TrainConfig, name: str, stage: MultitaskStage) -> None:
    """Refuse what does nothing, or leaves nothing to train, where the encoder does not change."""
    if stage.mnr.tasks:
        raise ValueError(
            f"stages.{name}.mnr.tasks does not go with freeze_encoder true: ranking trains the encoder alone"
        )
    tasks = [config.tasks[task] for task in config.trained_tasks(stage)]
    pairs = sum(len(task.text) == 2 for task in tasks)
    sharing = {"none": 0, "pairs": pairs, "all": len(tasks)}[config.shared_layer]
    needed = "a trained encoder or a layer that tasks of the stage share, not freeze_encoder true"
    refuse_unless(sharing > 1, stage, {"pcgrad": False, "conflict_batches": 0}, needed, f"stages.{name}.")
    if config.shared_layer != "none":
        return
    idle = [task for task in config.trained_tasks(stage) if not _has_parameters(config.tasks[task])]
    together = stage.sampler.kind == "concurrent" and len(idle) < len(config.trained_tasks(stage))
    if idle and not together:
        raise ValueError(
            f"stages.{name}.freeze_encoder true does not go with tasks.{idle[0]}.head.kind "
            f"{config.tasks[idle[0]].head.kind!r}: that head has nothing to train; leave the task out of the stage's tasks"
        )


def _has_parameters(task: TaskConfig) -> bool:
    """Whether a task's head has anything to train."""
    return task.head.kind not in ONE_VALUE or (
        task.head.kind == "cosine" and task.kind == "binary" and task.head.learned_scale is not False
    )
