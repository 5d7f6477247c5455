"""A push in a process of its own: `python -m hf_finetune.hub.job FILE`.

Training must neither wait for the network nor end with it. A thread would do neither, but data workers are
forked while training, and a child forked in the moment in which one of the client's threads enters the
interpreter hangs for ever (see `engines/workers.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, fields
from pathlib import Path

from hf_finetune.errors import HubError
from hf_finetune.hub.upload import Upload, push_files

__all__ = ["Job"]

STDIN = 0


class Job:
    """A push that is going on.

    Args:
        upload: What to push.
        folder: For what the process is given and says; not there yet.
    """

    def __init__(self, upload: Upload, folder: Path) -> None:
        self.upload, self.output = upload, folder / "push.log"
        content = asdict(upload) | {"files": {name: str(path) for name, path in upload.files.items()}}
        task = folder / "push.json"
        task.write_text(json.dumps(content), encoding="utf-8")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hf_finetune.hub.job", str(task)],
                stdin=subprocess.PIPE,  # closes with us
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the training
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            HubError: The push failed.
        """
        code = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        if code:
            said = self.output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise HubError(said[-1] if said else f"the push ended with exit code {code}")

    def stop(self) -> None:
        """End it; the Hub has the commit before, or the whole new one."""
        self.process.kill()
        self.process.wait()


def _end_with_parent() -> None:
    """Wait until the other end of our standard input is closed: the training is gone."""
    while os.read(STDIN, 1):
        pass
    os._exit(1)


def _read(task: Path) -> Upload:
    content = json.loads(task.read_text(encoding="utf-8"))
    content["files"] = {name: Path(path) for name, path in content["files"].items()}
    return Upload(**{field.name: content[field.name] for field in fields(Upload)})


def main() -> int:
    """Push what the file on the command line says; the last line printed says why it failed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        print(push_files(_read(Path(sys.argv[1]))).url)
    except HubError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
