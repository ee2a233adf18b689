"""What reads a model of some framework and writes the folded one: a `Program` and its `Ops`. None imports another."""
