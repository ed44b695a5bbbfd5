"""The lines: label to release, and a past release back."""
