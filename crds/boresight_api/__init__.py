"""The contract: what a run is, what a stage does, what an artifact holds. Pure: no I/O anywhere in this package."""
