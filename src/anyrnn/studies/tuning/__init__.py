"""Tuning: which options make a task's network best, found by Optuna."""
