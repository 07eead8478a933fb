"""Budgets: what counts towards one, and the part of it that a process may spend without asking."""
