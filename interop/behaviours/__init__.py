"""Checks of a server's behaviour, one module a subject; `interop/behaviour` runs them. See `harness` first."""
