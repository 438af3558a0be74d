"""Settings that every test shares."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says how busy the machine is, nothing about carpool; the timeout of
# each whole test (pyproject.toml) still holds. A failure prints what reproduces it anywhere.
settings.register_profile("carpool", deadline=None, print_blob=True)
settings.load_profile("carpool")
