"""Notebooks that read a study, and what their cells call.

They are kept with their outputs of ``example_study``, so that they can be read without being run;
``python -m analysis.notebooks.execute`` (``make notebooks``) makes the outputs again.
"""

import warnings

with warnings.catch_warnings():
    # Imported in a notebook, Optuna's progress bar asks for widgets; none is drawn here.
    warnings.filterwarnings("ignore", "IProgress not found")
    from analysis.notebooks.cells import Table, open_study, table

__all__ = ["Table", "open_study", "table"]
