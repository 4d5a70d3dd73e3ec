"""Reports: what a run or a study says, from its folder alone.

Knows run folders, tables, plots and plain words derived from numbers; does not know models, problems or torch, and
trusts no expectation: every verdict of a report is computed from the numbers beside it.
"""

from thinkaloud.reports.html import write_report
from thinkaloud.reports.load import Run, load_run
from thinkaloud.reports.study import study_table, summarise_study, write_study
from thinkaloud.reports.tables import summarise, summary_table

__all__ = [
    "Run",
    "load_run",
    "study_table",
    "summarise",
    "summarise_study",
    "summary_table",
    "write_report",
    "write_study",
]
