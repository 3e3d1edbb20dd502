"""Credentials: secrets that identity keeps for users (EC2 keys, TOTP seeds, anything)."""
