"""Worst-case mutual information for the Adversarial Robustness Toolbox.

The public names stand in `__init__.pyi`. Each is imported when it is first used, as trainers alone take longer to
import than everything else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
