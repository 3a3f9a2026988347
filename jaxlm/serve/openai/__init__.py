"""Texts over the routes of OpenAI's API."""
