"""Subgroups and weak slices: who they are, their rates and intervals, and the audit for people."""
