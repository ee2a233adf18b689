"""Running a module for comparison: from a saved state, in float64, and no further than it may reach."""
