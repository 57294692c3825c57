"""Questions about images, sounds and videos whose answers a program can verify, with rule-written critiques."""
