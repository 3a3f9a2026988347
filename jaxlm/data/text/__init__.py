"""Running text for language models: corpora, documents, windows, packing, masking, conversations."""
