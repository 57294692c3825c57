"""The kinds of constraints, one file per family."""
