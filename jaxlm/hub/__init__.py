"""Pretrained weights in the layouts of transformers, torchvision and PEFT: loading and saving."""
