"""What every worker of a test needs, imported once before it is forked. Nothing here may take a gradient: no fork would take one again."""

import accelerate  # noqa: F401
import torch
import torch.distributed.fsdp
import transformers  # noqa: F401

import rootstock.cli.main
import rootstock.loop.sharded
import rootstock.verbs.api  # noqa: F401

torch.set_num_threads(1)
