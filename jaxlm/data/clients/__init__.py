"""Data of federated learning: the examples of any spec, dealt to clients, and rounds of some of the clients."""

from jaxlm.data.clients.spec import Clients

__all__ = ["Clients"]
