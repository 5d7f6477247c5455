"""Read back what Comet has put into the archives of a run folder."""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import rewrite_logs

from hf_finetune.tracking.comet_archive import list_whole, read_messages

OFFLINE = "tracking={comet: {project: digits, workspace: us, mode: offline, name: one, tags: [deit, small]}}"

Metric = tuple[str, float | None, int | None]


class Archive:
    """One archive: messages by kind, and the files that were sent."""

    def __init__(self, path: Path) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for kind, message in read_messages(path):
            self.messages[kind].append(message)
        with zipfile.ZipFile(path) as file:
            self.about = json.loads(file.read("experiment.json"))
            self.files = {
                _name(message): file.read(message["file_path"]) for message in self.messages["file_upload"]
            }

    @property
    def metrics(self) -> list[Metric]:
        """Name, value and step of all metrics but those of the machine, in order."""
        found = [message["metric"] for message in self.messages["metric_msg"]]
        return [
            (metric["metricName"], metric["metricValue"], metric["step"])
            for metric in found
            if not metric["metricName"].startswith(("sys.", "process "))
        ]

    @property
    def training(self) -> list[Metric]:
        return [metric for metric in self.metrics if not metric[0].startswith("scores/")]

    @property
    def parameters(self) -> list[tuple[str, Any]]:
        found = [message["param"] for message in self.messages["parameter_msg"]]
        return [(p["paramName"], p["paramValue"]) for p in found if p["source"] == "manual"]

    @property
    def others(self) -> dict[str, Any]:
        return {message["key"]: message["value"] for message in self.messages["log_other"]}

    @property
    def uploads(self) -> list[tuple[str, str]]:
        return [(message["upload_type"], _name(message)) for message in self.messages["file_upload"]]


def _name(upload: dict[str, Any]) -> str:
    parameters = upload["additional_params"]
    return str(parameters.get("fileName") or parameters["figName"])


def read_archives(run: Path) -> list[Archive]:
    """Return the archives of a run's sessions, in the order of their making."""
    found = [Archive(path) for path in list_whole(run / "tracking" / "comet")]
    return sorted(found, key=lambda archive: archive.about["start_time"])


def metrics_of_log(run: Path) -> list[Metric]:
    """Return what `log.jsonl` says, in transformers' words for trackers."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        (name, value, entry["step"])
        for entry in entries
        for name, value in sorted(rewrite_logs({k: v for k, v in entry.items() if k != "step"}).items())
    ]
