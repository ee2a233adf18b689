"""The network of the README, for a command line in this folder: ``convfold fold nets:small -o small.pt2``."""

from convfold.demo import small

__all__ = ["small"]
