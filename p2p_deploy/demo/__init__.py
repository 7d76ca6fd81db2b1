"""The parts of ``p2p demo``: real photographs and a clip, training pairs cut from them, and what is reported.

The task is colouring: grey in, colour out, so that any picture is the right input.
"""
