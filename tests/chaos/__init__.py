"""Promises under kill, freeze and cut: real processes, signals at named points."""
