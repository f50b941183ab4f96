"""In front of the real one on the path of processes that tests start."""

__version__ = "0"
