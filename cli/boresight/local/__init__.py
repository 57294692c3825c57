"""Runs on this machine: stages as processes, records in the store."""
