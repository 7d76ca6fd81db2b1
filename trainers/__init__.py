"""Training: ``train`` for every system, whose files read from top to bottom, and what they share.

A training ends in a checkpoint that ``p2p_deploy.export`` takes without being told anything. Importing this package
loads no torch.
"""

import lazy_loader

# What is public stands in the stub beside this file. Each name is imported when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
