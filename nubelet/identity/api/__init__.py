"""The HTTP side of identity: one file per noun of the URL."""
