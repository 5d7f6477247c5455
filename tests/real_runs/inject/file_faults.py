"""A fault at a chosen file operation of this process, through Python's audit events.

Seen are: files opened for writing, renames, new folders, removals. Not seen are writes, and files that C++ or
Rust open for themselves (pyarrow, safetensors).
"""

import os
import resource
import sys
import time

WRITING = os.O_WRONLY | os.O_RDWR
PATHS = {"os.rename": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1}


class Fault:
    """What happens at which operation.

    kind     "signal" sends `signals` to this process; "full" puts /dev/full where a file is about to be
             written, so that the system itself says that no space is left; "limit" lets no file grow over
             4 kB from then on; "none" only counts
    match    a part of the path
    nth      the operation on such a path, from 1
    trace    a file that gets a line for each of these operations
    apart_s  seconds between two signals
    removals whether removals inside shutil.rmtree count, which names files without their folder
    """

    def __init__(self, kind, match, nth=1, signals=(), apart_s=0.0, trace=None, removals=False):
        self.kind, self.match, self.nth = kind, match, nth
        self.signals, self.apart_s = signals, apart_s
        self.removals = removals
        self.num_seen, self.owner = 0, os.getpid()
        self.trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if trace else None

    def see(self, event, args):
        paths = [os.fsdecode(path) for path in _paths_of(event, args)]
        is_ours = any(self.match in path for path in paths)
        is_removal = self.removals and event == "os.remove" and args[1] != -1
        if (
            os.getpid() != self.owner
            or not (is_ours or is_removal)
            or (self.kind == "full" and event != "open")
        ):
            return
        self.num_seen += 1
        if self.trace is not None:
            os.write(self.trace, f"{event} {' '.join(paths)}\n".encode())
        if self.num_seen != self.nth:
            return
        if self.kind == "full":
            if os.path.lexists(paths[0]):
                os.remove(paths[0])
            os.symlink("/dev/full", paths[0])
        elif self.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        for i, signum in enumerate(self.signals):
            time.sleep(self.apart_s if i else 0.0)
            os.kill(self.owner, signum)


def _paths_of(event, args):
    if event == "open":
        path, _, flags = args
        return [path] if isinstance(path, (str, bytes, os.PathLike)) and (flags or 0) & WRITING else []
    return args[: PATHS.get(event, 0)]


_active, _is_hooked = [], []


def _hook(event, args):
    if _active and (event == "open" or event in PATHS):
        for fault in list(_active):
            _active.remove(fault)  # its own operations do not count
            try:
                fault.see(event, args)
            finally:
                _active.append(fault)


def install(fault):
    """Let a fault happen from here on."""
    if not _is_hooked:
        _is_hooked.append(True)
        sys.addaudithook(_hook)  # for good: Python has no way to take it away
    _active.append(fault)


class during:
    """Let a fault happen inside a with statement."""

    def __init__(self, kind, match, **options):
        self.fault = Fault(kind, match, **options)

    def __enter__(self):
        install(self.fault)
        return self.fault

    def __exit__(self, *error):
        _active.remove(self.fault)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
