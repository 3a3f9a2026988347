"""Write what is said in sound."""
