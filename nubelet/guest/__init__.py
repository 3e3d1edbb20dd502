"""The guest image: a small Linux of Debian packages that behaves like CirrOS.

Demo, tests and conformance runs need a guest that boots in seconds under emulation. `build` makes
it; README.md in this folder tells what is inside and how it boots. Next to read: build.py.
"""

from nubelet.guest.artefacts import Artefact, GuestImage

__all__ = ["Artefact", "GuestImage"]
