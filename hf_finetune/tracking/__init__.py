"""Trackers: where a run is followed while it goes on, and what is kept of it there."""

from hf_finetune.tracking.base import Tracker
from hf_finetune.tracking.require import list_trackers, require_trackers
from hf_finetune.tracking.track import Trackers, track

__all__ = ["Tracker", "Trackers", "list_trackers", "require_trackers", "track"]
