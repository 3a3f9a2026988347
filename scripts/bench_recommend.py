"""Time the training of NeuMF against the same model in PyTorch, and row-wise against whole updates of tables.

    python scripts/bench_recommend.py [--only neumf|rows] [--batch 1024] [--repeats 5] [--steps 50] [--threads 2]

Both NeuMFs have the same weights, loss (checked on one batch) and Adam; they take turns in one process, on batches
that are in memory. "rows" updates the tables of matrix factorisation with Adam for all rows, as jaxlm does, or for the
rows of the batch alone, whose gradients are summed by row; other rows keep their moments (what PyTorch calls
SparseAdam).
"""

import argparse
import os
from typing import Any

from bench import BUSY, Bare, Others, Times, alternate, machine, prepare_environment, report

USERS, ITEMS, NEGATIVES = 6040, 3706, 4  # of MovieLens-1M


def main() -> None:
    """Parse, set the environment, run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("neumf", "rows"))
    parser.add_argument("--batch", type=int, default=1024, help="interactions in a batch, each with four negatives")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every peer")
    parser.add_argument("--steps", type=int, default=50, help="steps a turn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="cores for either peer")
    parser.add_argument("--plain", action="store_true", help="leave the environment as it is")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if not options.plain:
        prepare_environment()
    print(machine(options.threads), flush=True)
    others = Others()
    if options.only != "rows":
        report("training NeuMF", bench_neumf(options), "examples")
    if options.only != "neumf":
        for users, items in ((USERS, ITEMS), (200_000, 100_000)):
            title = f"updating tables of {users:,} users and {items:,} items"
            report(title, bench_rows(options, users, items), "examples")
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def draw(count: int, rows: int, users: int, items: int) -> list[dict[str, Any]]:
    """Return batches of random interactions with negatives."""
    import numpy as np

    draws = np.random.default_rng(0)
    sizes = {"user": (users, (rows,)), "positives": (items, (rows, 1)), "negatives": (items, (rows, NEGATIVES))}
    return [
        {name: draws.integers(0, top, shape, dtype=np.int32) for name, (top, shape) in sizes.items()}
        for _ in range(count)
    ]


def bench_neumf(options: argparse.Namespace) -> tuple[Times, int]:
    """Time updates of NeuMF, once both were seen to compute the same loss."""
    import jax
    import numpy as np
    import torch
    from torch import nn

    from jaxlm import steps as algebra
    from jaxlm.losses import recommendation
    from jaxlm.models.neumf import NeuMF
    from jaxlm.optim import Adam
    from jaxlm.steps import transforms

    torch.set_num_threads(options.threads)
    model: Any = NeuMF(users=USERS, items=ITEMS, factors=8, width=32, hidden=(32, 16, 8))
    batches = draw(8, options.batch, USERS, ITEMS)
    loss, tx = recommendation(model, "logistic"), Adam(peak_lr=1e-3)(100_000)
    example = np.zeros(1, np.int32), np.zeros((1, 1), np.int32)
    step = transforms.skip_nonfinite(algebra.update(algebra.grad(loss), tx))
    peer = Bare(lambda key: algebra.init(model, tx, example, key), step, batches)
    params = jax.tree.map(np.asarray, peer.state.params)

    class TorchNeuMF(nn.Module):
        """The same network, as it is usually written: one first layer over both vectors side by side."""

        def __init__(self) -> None:
            super().__init__()
            names = ("user_table", "item_table", "user_table_of_layers", "item_table_of_layers")
            tables = [torch.tensor(params[name]["embedding"]) for name in names]
            self.tables: Any = nn.ModuleList(nn.Embedding.from_pretrained(table, freeze=False) for table in tables)
            first = np.concatenate([params[name]["kernel"] for name in ("user_hidden", "item_hidden")])
            kernels = [(first, params["user_hidden"]["bias"])]
            kernels += [(params[name]["kernel"], params[name]["bias"]) for name in ("hidden_1", "hidden_2", "head")]
            self.layers: Any = nn.ModuleList(nn.Linear(*kernel.shape) for kernel, _ in kernels)
            with torch.no_grad():
                for layer, (kernel, bias) in zip(list[Any](self.layers), kernels, strict=True):
                    layer.weight.copy_(torch.tensor(kernel.T))
                    layer.bias.copy_(torch.tensor(bias))

        def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
            product = self.tables[0](users) * self.tables[1](items)
            x = torch.cat([self.tables[2](users), self.tables[3](items)], -1)
            for layer in self.layers[:-1]:
                x = torch.relu(layer(x))
            return self.layers[-1](torch.cat([product, x], -1))[:, 0]

    def tensors(batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        items = np.concatenate([batch["positives"], batch["negatives"]], 1)
        labels = np.zeros(items.shape, np.float32)
        labels[:, 0] = 1
        users = np.repeat(batch["user"], items.shape[1])
        return tuple(
            torch.from_numpy(x) for x in (users.astype(np.int64), items.ravel().astype(np.int64), labels.ravel())
        )

    theirs = TorchNeuMF()
    entropy = nn.BCEWithLogitsLoss(reduction="sum")
    users, items, labels = tensors(batches[0])
    found = entropy(theirs(users, items), labels).item() / options.batch
    check(loss(params, {}, batches[0], jax.random.key(0), train=False)[0]["loss"].compute(), found)
    adam, given = torch.optim.Adam(theirs.parameters(), 1e-3), [tensors(batch) for batch in batches]

    def train(count: int) -> None:
        for number in range(count):
            users, items, labels = given[number % len(given)]
            adam.zero_grad()
            (entropy(theirs(users, items), labels) / options.batch).backward()
            adam.step()

    return alternate({"PyTorch eager": train, "jaxlm": peer}, options.repeats, options.steps), options.batch * (
        1 + NEGATIVES
    )


def check(ours: float, theirs: float) -> None:
    """Refuse to compare what does not compute the same."""
    print(f"\nloss on the same weights and batch: jaxlm {ours:.6f}, PyTorch {theirs:.6f}", flush=True)
    if abs(ours - theirs) > 1e-4 * abs(theirs):
        raise SystemExit("error: the losses differ, so the two do not compute the same")


def bench_rows(options: argparse.Namespace, users: int, items: int, width: int = 64) -> tuple[Times, int]:
    """Time one update of both tables, of all rows or of those in the batch."""
    import jax
    import jax.numpy as jnp
    import optax

    batches = draw(8, options.batch, users, items)

    def bpr(vectors: Any, drawn: Any) -> Any:
        scores = jnp.einsum("bd,bkd->bk", vectors, drawn)
        return jax.nn.softplus(scores[:, 1:] - scores[:, :1]).sum()

    def split(batch: Any) -> Any:
        return batch["user"], jnp.concatenate([batch["positives"], batch["negatives"]], 1)

    adam = optax.adam(1e-3)

    def init(key: Any) -> Any:
        tables = [0.01 * jax.random.normal(key, (count, width)) for count in (users, items)]
        return tables, adam.init(tables)

    def whole(state: Any, batch: Any) -> Any:
        tables, moments = state
        user, item = split(batch)
        grads = jax.grad(lambda tables: bpr(tables[0][user], tables[1][item]))(tables)
        updates, moments = adam.update(grads, moments)
        return (optax.apply_updates(tables, updates), moments), {}

    def by_row(state: Any, batch: Any) -> Any:
        tables, (moments, *rest) = state
        rows = split(batch)
        grads = jax.grad(bpr, (0, 1))(*(table[row] for table, row in zip(tables, rows, strict=True)))
        number = moments.count + 1
        new: list[list[Any]] = [[], [], []]
        for table, mean, square, row, grad in zip(tables, moments.mu, moments.nu, rows, grads, strict=True):
            chosen, place = jnp.unique(row.ravel(), return_inverse=True, size=row.size, fill_value=len(table))
            summed = jnp.zeros((row.size, width)).at[place].add(grad.reshape(-1, width))
            first = 0.9 * mean.at[chosen].get(mode="clip") + 0.1 * summed
            second = 0.999 * square.at[chosen].get(mode="clip") + 0.001 * summed**2
            move = 1e-3 * first / (1 - 0.9**number) / (jnp.sqrt(second / (1 - 0.999**number)) + 1e-8)
            new[0].append(table.at[chosen].add(-move, mode="drop"))
            new[1].append(mean.at[chosen].set(first, mode="drop"))
            new[2].append(square.at[chosen].set(second, mode="drop"))
        return (new[0], (moments._replace(count=number, mu=new[1], nu=new[2]), *rest)), {}

    all_rows, rows = Bare(init, whole, batches), Bare(init, by_row, batches)
    return alternate(
        {"all rows": all_rows, "rows of the batch": rows}, options.repeats, options.steps
    ), options.batch * (1 + NEGATIVES)


if __name__ == "__main__":
    main()
