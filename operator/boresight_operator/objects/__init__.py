"""From an observation and an attempt to Kubernetes objects. Pure: plain dicts, no I/O, the same input the same output."""
