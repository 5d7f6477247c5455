"""Python imports this at start-up when its folder is on PYTHONPATH."""

import json
import os

if "HF_FINETUNE_TEST_FAULT" in os.environ:
    import file_faults

    file_faults.install(file_faults.Fault(**json.loads(os.environ.pop("HF_FINETUNE_TEST_FAULT"))))
