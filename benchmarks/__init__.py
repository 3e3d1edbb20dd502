"""Figures that the project promises, measured: `make bench`. Not tests: they print, never fail."""
