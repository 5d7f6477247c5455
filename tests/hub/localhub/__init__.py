"""A Hub on loopback for tests: the unmodified clients talk real HTTP to it, no network needed.

store.py    blobs, commits, branches: what a repository is
access.py   who may read and write which repository
faults.py   503s, dropped connections, cut downloads, on request
wire.py     HTTP: requests, replies, byte ranges
router.py   method and path -> the function that answers
reading.py  model and data set information, trees, files
writing.py  repositories, commits, branches, tags
lfs.py      large files
xet.py      large files by the other way, in chunks
server.py   LocalHub: all of it behind one port
"""

from localhub.access import Account
from localhub.faults import Fault
from localhub.server import LocalHub
from localhub.wire import Exchange

__all__ = ["Account", "Exchange", "Fault", "LocalHub"]
