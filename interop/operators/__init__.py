"""The checks of `operator`, one module a subject."""
