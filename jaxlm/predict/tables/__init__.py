"""Answers for rows of tables, and which of their columns matter."""
