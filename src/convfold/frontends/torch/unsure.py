"""Why the pass that makes a graph functional leaves it to torch."""


class Unsure(Exception):
    """Something about the graph's memory that cannot be told from the graph."""
