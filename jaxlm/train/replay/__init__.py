"""Train runs again: to find where two of them differ first, and to prove that a killed run resumes to the same bits."""
