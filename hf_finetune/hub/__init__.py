"""Writing to the Hub: the rights first, then one commit, read back and compared before it is called pushed.

rights.py    may this token write there? asked before training
upload.py    one commit of many files, its tag, and the comparison of what came out
patience.py  trying again, where the client does not
wording.py   what the Hub answers -> what the user can do
job.py       a push in a process of its own, so that training goes on
callback.py  pushes while training, from either engine
"""

from hf_finetune.hub.rights import Target, require_rights
from hf_finetune.hub.upload import Pushed, Upload, push_files

__all__ = ["Pushed", "Target", "Upload", "push_files", "require_rights"]
