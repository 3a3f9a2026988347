"""Tokenizers: specs, the ones written here, and those of the tokenizers library."""
