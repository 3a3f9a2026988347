"""A folder of pretrained weights by its path, or by its name on the Hugging Face hub."""

import re
from pathlib import Path

from jaxlm.errors import BadInput

NAME = r"[\w.-]+(/[\w.-]+)?"
FILES = ("*.json", "*.safetensors", "merges.txt", "vocab.txt")


def folder_of(source: str) -> Path:
    """The folder that is there, or one that is fetched by name into the cache of huggingface_hub.

    Raises:
        BadInput: no such folder, and nothing that can be fetched under that name here.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if not re.fullmatch(NAME, source):
        raise BadInput(f"there is no folder {source}: give one that holds config.json and safetensors")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise BadInput(
            f"there is no folder {source}, and a model of that name is fetched by huggingface_hub, which is not "
            "installed: pip install 'jaxlm[hub]'"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except Exception as error:  # by its documentation it may be one of a dozen, of as many libraries
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}" if str(error) else repr(error)
        raise BadInput(
            f"there is no folder {source}, and no model of that name could be fetched from the hub ({reason})"
        ) from None
