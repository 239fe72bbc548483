"""Tested kernels behind the book. Import the module you need, `from pcbook import onemlp`; this one imports nothing."""
