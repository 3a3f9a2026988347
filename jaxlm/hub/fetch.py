"""A folder of pretrained weights, by its path or by its name on the Hugging Face hub."""

import re
from pathlib import Path

from jaxlm.errors import BadInput

NAME = r"[\w.-]+(/[\w.-]+)?"
FILES = ("*.json", "*.safetensors", "merges.txt", "vocab.txt")


def fetch_folder(source: str) -> Path:
    """Return an existing folder, or download a model by its name into the cache of huggingface_hub.

    Args:
        source: path of a folder, or a name such as "gpt2" or "google/vit-base-patch16-224".

    Raises:
        BadInput: the folder does not exist, and nothing can be downloaded under that name.
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
            "installed: pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except Exception as error:  # a dozen classes of several libraries, by its documentation
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:150]}" if str(error) else repr(error)
        raise BadInput(
            f"there is no folder {source}, and no model of that name could be fetched from the hub ({reason})"
        ) from None
