"""Durable work, timers and calls to the outside."""
