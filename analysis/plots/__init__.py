"""Pictures of a study: small, one idea a module, drawn without a display.

Every function takes data frames (or arrays) and returns a figure, or None when there is nothing to
draw. Pictures are narrow enough to be read on a phone; pages set several side by side. Colours are
Okabe and Ito's, which stay apart for colour-blind readers, and never the only thing that tells.
"""

from analysis.plots.canvas import png
from analysis.plots.confusion import confusion_matrix
from analysis.plots.cost import score_against_cost
from analysis.plots.curves import learning_curves, train_against_dev
from analysis.plots.effects import forest
from analysis.plots.ensembles import ensemble_growth
from analysis.plots.factors import score_by_level
from analysis.plots.front import hypervolume, pareto
from analysis.plots.lengths import share_of_mistakes, signed_error
from analysis.plots.pairs import paired_changes
from analysis.plots.products import interaction
from analysis.plots.schedule import tasks_over_training
from analysis.plots.scores import scores_by_task
from analysis.plots.timeline import timeline

__all__ = [
    "confusion_matrix",
    "ensemble_growth",
    "forest",
    "hypervolume",
    "interaction",
    "learning_curves",
    "paired_changes",
    "pareto",
    "png",
    "score_against_cost",
    "score_by_level",
    "scores_by_task",
    "share_of_mistakes",
    "signed_error",
    "tasks_over_training",
    "timeline",
    "train_against_dev",
]
