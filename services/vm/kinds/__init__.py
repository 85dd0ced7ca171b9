"""The handlers of the kinds."""
