"""Published sizes of GPT."""

from jaxlm.models.gpt import GPT

# Radford et al. 2019 (GPT-2), table 2, with the parameter counts of the released weights.
GPT2_SMALL = GPT(vocab=50257, depth=12, width=768, heads=12, context=1024)  # 124,439,808
GPT2_MEDIUM = GPT(vocab=50257, depth=24, width=1024, heads=16, context=1024)  # 354,823,168
GPT2_LARGE = GPT(vocab=50257, depth=36, width=1280, heads=20, context=1024)  # 774,030,080
GPT2_XL = GPT(vocab=50257, depth=48, width=1600, heads=25, context=1024)  # 1,557,611,200

# The shape of Llama 3.2 1B (Grattafiori et al. 2024), without its frequency scaling beyond 8192 tokens.
LLAMA_1B = GPT(
    vocab=128256,
    depth=16,
    width=2048,
    heads=32,
    context=8192,
    kv_heads=8,
    norm="rms",
    activation="swiglu",
    positions="rotary",
    hidden=8192,
    bias=False,
    rotary_base=500000.0,
)

# A Llama of 260 thousand weights for children's stories, of Karpathy's llama2.c: 260,032.
LLAMA_STORIES = GPT(
    vocab=512,
    depth=5,
    width=64,
    heads=8,
    context=512,
    kv_heads=4,
    norm="rms",
    activation="swiglu",
    positions="rotary",
    hidden=172,
    bias=False,
)
