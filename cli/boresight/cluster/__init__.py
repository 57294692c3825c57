"""Runs in a cluster: what ``kubectl boresight`` knows that ``boresight`` does not."""
