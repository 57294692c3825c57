"""Instructions whose fulfilment a program can verify (as IFEval, arXiv 2311.07911), with rule-written critiques."""
