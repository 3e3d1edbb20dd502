"""The Image API: one file per noun of its URLs."""
