"""Measurements: ratios against plain libraries and budgets, run by `make bench`, never as tests."""
