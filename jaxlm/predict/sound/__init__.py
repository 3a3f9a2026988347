"""Answer with what is said in sound, or with sound."""
