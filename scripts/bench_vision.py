"""A training step of a ResNet-18 for small images, jaxlm and eager PyTorch (channels last) alternating in one process.

    python scripts/bench_vision.py [--repeats 5] [--steps 2] [--batch 128] [--stages 2 2 2 2] [--width 64] [--plain]

images/s of the whole step in float32: gradient of the cross entropy, batch statistics, SGD with momentum. jaxlm adds
the norm of the gradient and `skip_nonfinite`, as in training. Before anything is timed both must compute the same
loss from the same weights. To hold: 1.0x; the aim is 1.2x. Only a quiet machine gives a result.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

from bench import BUSY, Bare, Others, Peer, Times, alternate, machine, prepare_environment, report


def main() -> None:
    """Parse, set the environment, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=2, help="steps a turn")
    parser.add_argument("--batch", type=int, default=128, help="images a step")
    parser.add_argument("--stages", type=int, nargs="+", default=[2, 2, 2, 2], help="blocks of each stage")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores for either peer")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if not options.plain:
        prepare_environment()
    print(machine(options.threads), flush=True)
    others = Others()
    report("jaxlm against PyTorch", bench(options), "images")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def bench(options: argparse.Namespace) -> tuple[Times, int]:
    """Both peers on the same random images and the same weights."""
    import numpy as np
    import torch

    from jaxlm.models.resnet import ResNet
    from torch_resnet import TorchResNet

    random = np.random.default_rng(0)
    images = random.normal(size=(options.batch, 32, 32, 3)).astype(np.float32)
    labels = random.integers(0, 10, options.batch).astype(np.int32)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    peer: Any = TorchResNet(10, tuple(options.stages), options.width)
    peer = peer.to(memory_format=torch.channels_last)
    model = ResNet(10, tuple(options.stages), width=options.width, stem="small", zero_residual=False)
    init, step, loss = compose(model, images, leaves_of(peer))
    alone = Bare(init, step, [{"image": images, "label": labels}])
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    classes = torch.from_numpy(labels).long()
    check_losses(loss, alone.state, {"image": images, "label": labels}, peer, pixels, classes)
    return alternate(
        {"PyTorch eager": training(peer, pixels, classes), "jaxlm": alone}, options.repeats, options.steps
    ), (options.batch)


def compose(model: Any, example: Any, leaves: Any) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    """Return the initialiser with the peer's weights, the step of experiments/image_classification.py, and the loss."""
    from jaxlm import steps
    from jaxlm.losses import classification
    from jaxlm.optim import SGD
    from jaxlm.steps import transforms

    tx = SGD(peak_lr=1e-3, momentum=0.9, schedule="constant")(1000)
    loss = classification(model)
    step = transforms.skip_nonfinite(steps.update(steps.grad(loss), tx))

    def init(key: Any) -> Any:
        state = steps.init(model, tx, example[:1], key)
        return state.replace(params=replaced({"params": state.params}, leaves)["params"])

    return init, step, loss


def replaced(tree: Any, leaves: dict[str, Any]) -> Any:
    """Return the tree with every leaf taken from `leaves`, by path."""
    import jax

    def one(path: Any, old: Any) -> Any:
        new = leaves[jax.tree_util.keystr(path, simple=True, separator="/")]
        assert new.shape == old.shape, path
        return new

    return jax.tree_util.tree_map_with_path(one, tree)


def leaves_of(peer: Any) -> dict[str, Any]:
    """Return the peer's parameters by our paths, through the table that reads pretrained weights."""
    from jaxlm.hub.torchvision import translate

    names = {}
    for name, tensor in peer.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            names[torch_name(name, peer)] = tensor.detach().numpy().copy()
    return dict(translate(name, tensor, "the PyTorch peer") for name, tensor in names.items())


def torch_name(name: str, peer: Any) -> str:
    """`blocks.3.conv_1.weight` as torchvision writes it: `layer2.1.conv1.weight`."""
    words = name.split(".")
    if words[0] != "blocks":
        return name
    stage, number = peer.places[int(words[1])]
    layer = words[2].replace("conv_", "conv").replace("norm_", "bn")
    return ".".join([f"layer{stage + 1}", str(number), layer, *words[3:]])


def check_losses(loss: Any, state: Any, batch: Any, peer: Any, pixels: Any, classes: Any) -> None:
    """Refuse to compare what does not compute the same, in training mode."""
    import torch

    metrics, _ = loss(state.params, state.variables, batch, state.key, train=True)
    ours, theirs = metrics["loss"].compute(), torch.nn.functional.cross_entropy(peer(pixels), classes).item()
    print(f"\nloss on the same weights and batch: jaxlm {ours:.6f}, PyTorch {theirs:.6f}", flush=True)
    if abs(ours - theirs) > 1e-4:
        raise SystemExit("error: the losses differ by more than 1e-4, so the two do not compute the same")


def training(peer: Any, pixels: Any, classes: Any) -> Peer:
    """Run steps of the peer."""
    import torch

    optimizer = torch.optim.SGD(peer.parameters(), lr=1e-3, momentum=0.9)

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(peer(pixels), classes).backward()
            optimizer.step()

    return run


if __name__ == "__main__":
    main()
