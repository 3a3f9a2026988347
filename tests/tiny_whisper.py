"""A folder with a tiny Whisper of random weights, without transformers."""

import json

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from jaxlm.hub import pretrained
from jaxlm.models.whisper import Whisper

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
IDS = {name: 256 + number for number, name in enumerate(SPECIAL)}
END, START, PLAIN = IDS["<|endoftext|>"], IDS["<|startoftranscript|>"], IDS["<|notimestamps|>"]
VOCAB = 256 + len(SPECIAL)
MODEL = Whisper(VOCAB, 1, 16, 4, 24, bands=8, source_context=50, context=40)  # windows of a second
SUPPRESSED, BEGIN = [1, 2, 3, 259, 260, 261, 262, 263, 264], [32, END]
HEADS = [[0, 0], [0, 3]]
GENERATION = {
    "suppress_tokens": SUPPRESSED,
    "begin_suppress_tokens": BEGIN,
    "alignment_heads": HEADS,
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": IDS["<|en|>"], "<|de|>": IDS["<|de|>"]},
    "task_to_id": {"transcribe": IDS["<|transcribe|>"], "translate": IDS["<|translate|>"]},
    "no_timestamps_token_id": PLAIN,
    "decoder_start_token_id": START,
    "eos_token_id": END,
    "pad_token_id": END,
    "bos_token_id": END,
    "max_length": MODEL.context,
    "return_timestamps": False,
    "prev_sot_token_id": IDS["<|startofprev|>"],
}


def write_tokenizer(folder):
    """A tokenizer.json of bytes, with the special tokens of Whisper."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: index for index, piece in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    assert inner.token_to_id("<|notimestamps|>") == PLAIN
    inner.save(str(folder / "tokenizer.json"))


def write_folder(folder, model=MODEL, seed=3, scale=0.3):
    """What transformers writes of a Whisper and its tokenizer; returns the leaves."""
    folder.mkdir(exist_ok=True)
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(seed)
    leaves = {path: (scale * draw.normal(size=leaf.shape)).astype(np.float32) for path, leaf in shapes.items()}
    pretrained.save_pretrained(folder, model, leaves)
    config = json.loads((folder / "config.json").read_text())
    config |= {"decoder_start_token_id": START, "eos_token_id": END, "pad_token_id": END, "bos_token_id": END}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(GENERATION))
    write_tokenizer(folder)
    return leaves
