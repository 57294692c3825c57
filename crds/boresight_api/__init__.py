"""The contract: what a run is, what a stage does, what an artifact holds. Pure: only the generators do I/O."""
