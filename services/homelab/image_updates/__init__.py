"""Images whose tags lead to others now: found, brought in by policy, taken back."""
