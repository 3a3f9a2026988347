"""Images with one label each: where they come from, decoding, augmentation on the device."""
