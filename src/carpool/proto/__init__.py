"""Bytes: parse(bytes) -> message or Reject, build(message) -> bytes; no I/O, no clock."""
