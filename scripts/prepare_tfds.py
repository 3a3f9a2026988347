"""Download a TFDS dataset and prepare it as array_record, once, on a machine with a network.

pip install tensorflow                            # brings TensorFlow, which preparing needs and reading does not
python scripts/prepare_tfds.py tiny_shakespeare   # into TFDS_DATA_DIR, else ~/tensorflow_datasets
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare one dataset and print where it lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help='the dataset, with its configuration where it has one: "glue/sst2"')
    parser.add_argument("--folder", default=os.environ.get("TFDS_DATA_DIR"), help="where to (default: TFDS_DATA_DIR)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("tensorflow") is None:
        print("error: preparing needs TensorFlow: pip install tensorflow", file=sys.stderr)
        raise SystemExit(2)

    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(options.name, data_dir=options.folder, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        print(f"error: TFDS knows no dataset {options.name!r}: see tensorflow.org/datasets/catalog", file=sys.stderr)
        raise SystemExit(2) from None
    builder.download_and_prepare()
    splits = ", ".join(f"{name} {split.num_examples}" for name, split in builder.info.splits.items())
    print(f"{builder.data_path}: {splits}")


if __name__ == "__main__":
    main()
