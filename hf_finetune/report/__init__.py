"""A run folder -> one self-contained HTML page, and the parts to compare several runs on one."""

from hf_finetune.report.page import render_report, write_report
from hf_finetune.report.record import RunRecord, read_run

__all__ = ["RunRecord", "read_run", "render_report", "write_report"]
