"""Readers of text files, JSON and tables: one set of rules for encodings, line ends and white space."""
