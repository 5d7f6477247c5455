"""Python imports this at start-up when its folder is on PYTHONPATH: a fault at a chosen file operation.

HF_FINETUNE_TEST_FAULT is JSON: {"kind": "signal", "signum": 9, "match": "run/", "nth": 3} sends the process
a signal before the third operation on a path that has "run/" in it; {"kind": "full", "match": "x.pt"} puts
/dev/full where a file that is about to be written should be. {"trace": FILE} writes each operation down.
"""

import json
import os
import sys

WRITING = os.O_WRONLY | os.O_RDWR
PATHS = {"os.rename": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1}


def _paths_of(event, args):
    if event == "open":
        path, _, flags = args
        return [path] if isinstance(path, (str, bytes, os.PathLike)) and (flags or 0) & WRITING else []
    return args[: PATHS.get(event, 0)]


def _install(fault):
    owner, state = os.getpid(), {"seen": 0}
    trace = None
    if fault.get("trace"):
        trace = os.open(fault["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event, args):
        if event != "open" and event not in PATHS or os.getpid() != owner:
            return
        paths = [os.fsdecode(path) for path in _paths_of(event, args)]
        # shutil.rmtree names files relative to an open folder
        is_ours = any(fault["match"] in path for path in paths) or (event == "os.remove" and args[1] != -1)
        if not paths or not is_ours:
            return
        state["seen"] += 1
        if trace is not None:
            os.write(trace, f"{event} {' '.join(paths)}\n".encode())
        if state["seen"] != fault.get("nth", 1):
            return
        if fault["kind"] == "signal":
            os.kill(owner, fault["signum"])
        elif fault["kind"] == "full":
            os.symlink("/dev/full", paths[0])

    sys.addaudithook(hook)


if "HF_FINETUNE_TEST_FAULT" in os.environ:
    _install(json.loads(os.environ["HF_FINETUNE_TEST_FAULT"]))
