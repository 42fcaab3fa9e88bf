"""The engine of the workbench: everything the screens and the command line do, without a screen.

Importing this package imports neither Textual nor torch.
"""

__version__ = "0.1.0"
