"""Words that shrink the configs of images, and pictures in the forms that they read."""

from whole_path import SHORT, write_arrays, write_folder

CLIENTS = "--data.clients 8 --data.batch 4 --data.epochs 1 --data.local-batch 32 --run.accumulate 2 --model.widths 4 "
CLIENTS += "--model.hidden 8"
MNIST = "--data.train-split train[:600] --data.eval-split test[:200] --data.batch 32 --data.eval-batch 100"
ARRAYS = "--data.arrays ARRAYS --data.batch 64 --data.eval-batch 40"
FEDERATED = {
    "federated_digits": CLIENTS,
    "federated_mnist": f"{CLIENTS} --data.examples.train-split train[:600] --data.examples.eval-split test[:200] "
    "--data.examples.eval-batch 100",
}
IMAGES = {
    **FEDERATED,
    "cnn_digits": "--model.widths 4 8 --model.hidden 16",
    "mlp_mnist": f"{MNIST} --model.hidden 16 --run.accumulate 2",
    "dp_mnist": f"{MNIST} --data.batch 64 --run.accumulate 2 --privacy.epsilon 200",
    "cnn_mnist": f"{MNIST} --model.widths 2 4 --model.hidden 16",
    "resnet20_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "resnet20_cifar10_crops": f"{ARRAYS} --data.augment.0.size 12 --model.stages 1 1 --model.width 8 "
    "--model.no-zero-residual",
    "resnet18_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "vit_cifar10": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2",
    "resnet50_imagenet": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual --model.classes 10 "
    "--run.workers 0",
    "inception_imagenet": "--data.arrays ARRAYS --data.batch 8 --data.eval-batch 20 --run.workers 0 "
    "--model.classes 10 --model.width 1 --model.grid-35 1 --model.grid-17 1 --model.grid-8 1 --model.dropout 0 "
    "--optim.peak-lr 0.01",
    "vit_s16_imagenet": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2 --model.classes 10 --run.workers 0",
    "resnet18_folder": "--data.path FOLDER --data.size 16 --data.batch 64 --model.stages 1 1 1 1 --model.width 8 "
    "--model.no-zero-residual --model.classes 10 --optim.peak-lr 0.1",
    "resnet56_hymenoptera": "--data.path FOLDER --data.batch 64 --data.size 16 --data.eval-batch 40 "
    "--model.stages 1 1 1 --model.classes 10 --model.width 8 --model.no-zero-residual --optim.peak-lr 0.1",
}


def image_words(name, tmp_path):
    """The words that shrink a config; pictures that are not at hand are exchanged for scikit-learn's real digits."""
    words = IMAGES[name]
    if "ARRAYS" in words:
        write_arrays(tmp_path, 75 if name.startswith("inception") else 16)
    if "FOLDER" in words:
        write_folder(tmp_path)
    return [*words.replace("ARRAYS", str(tmp_path)).replace("FOLDER", str(tmp_path)).split(), *SHORT]
