"""Losses, advantages, batches, the optimiser, checkpoints, the loops and the studies. Knows no HTTP."""
