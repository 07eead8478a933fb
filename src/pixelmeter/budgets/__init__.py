"""Budgets at work: calls are let through or refused, leases are drawn, and people are told of what is used up."""
