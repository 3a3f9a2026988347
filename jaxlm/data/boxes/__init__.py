"""Images with boxes around what is to be found in them."""

from jaxlm.data.boxes.sources import CocoBoxes, TfdsBoxes, VocBoxes

__all__ = ["CocoBoxes", "TfdsBoxes", "VocBoxes"]
