"""Training: one file a system, read from top to bottom, and what they share: losses, discriminators, data, loop.

A system ends in a checkpoint that ``p2p export`` takes without flags.
"""
