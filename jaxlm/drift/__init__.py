"""Whether what a model is asked, and what it answers, has the distribution that it had before."""
