"""
A first fit
===========

Placeholder.
"""
