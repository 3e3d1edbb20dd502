"""How a public cloud image comes into the cloud: found, downloaded, checked, looked at, uploaded.

Read next: `sources.py` (what a name or URL means), `downloads.py`, `checksums.py`, `uploading.py`.
"""
