"""Handlers of the kinds FlakeInput, Channel and UpdatePolicy."""
