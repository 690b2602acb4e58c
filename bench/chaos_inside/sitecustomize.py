"""Where this folder is in PYTHONPATH, a fault of a command is one of every Python process that it starts: CHAOS_INSIDE names it."""

import json
import os
from importlib import import_module

if told := os.environ.get("CHAOS_INSIDE"):
    module, name, values = json.loads(told)
    getattr(import_module(module), name)(*values)
