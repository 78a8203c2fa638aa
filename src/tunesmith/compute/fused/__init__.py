"""Blocks of a decoder layer as few autograd functions; see `blocks`."""
