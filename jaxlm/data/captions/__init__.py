"""Images with captions, for models that make pictures of texts."""
